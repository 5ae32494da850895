//! Random numbers that are the same on every machine and for ever: `SplitMix64`, whole numbers, and floats made only of
//! operations that IEEE 754 rounds one way. Must not know what they are used for.

/// A sequence of its own for every name it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The sequence named by these numbers.
    pub(crate) fn of(names: &[u64]) -> Rng {
        Rng(names
            .iter()
            .fold(0, |state, &name| mix(state.wrapping_add(GOLDEN) ^ mix(name.wrapping_add(GOLDEN)))))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// 0 to `n` − 1.
    pub(crate) fn below(&mut self, n: u32) -> i64 {
        i64::try_from((u128::from(self.next()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// Whether something happens that happens once in `n` times.
    pub(crate) fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// Whether something happens that has this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / 4_294_967_296.0;
        u32::try_from(self.next() >> 32).map_or(0.0, |high| f64::from(high) * STEP)
    }

    /// A bell curve around 0 with a standard deviation of 1 that ends at ±3.46: the sum of four even draws.
    pub(crate) fn bell(&mut self) -> f64 {
        const MEAN: f64 = 131_070.0;
        const DEVIATION: f64 = 37_837.227;
        let mut draw = self.next();
        let mut sum = 0.0;
        for _ in 0..4 {
            sum += u16::try_from(draw & 0xffff).map_or(0.0, f64::from);
            draw >>= 16;
        }
        (sum - MEAN) / DEVIATION
    }
}

/// A count as a float: exact, since nothing here comes near 2⁵³.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "below 2⁵³ by construction")]
pub(crate) fn float(value: i64) -> f64 {
    value as f64
}

/// The nearest whole number, halves away from zero.
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "rounded, and `as` saturates")]
pub(crate) fn whole(value: f64) -> i64 {
    value.round() as i64
}
