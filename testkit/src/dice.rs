//! Random numbers that a seed makes. Knows how they follow each other; must not know what for.

/// A sequence of random numbers (xorshift), the same for the same seed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number, below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Whether what happens once in so many times happens now.
    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}
