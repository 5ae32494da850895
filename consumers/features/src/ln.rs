//! The natural logarithm, the same bits on every machine. Knows one number.
//!
//! The standard library asks the platform, whose last bit depends on the processor and the C library; rows are compared
//! by hash between machines. Only additions, multiplications and divisions here, which IEEE 754 decides to the bit.

/// √½: mantissas are taken from here to √2, so that the logarithm of the rest is small.
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
/// ln 2 in two parts; the first has zeros enough that k × `LN2_HIGH` is exact.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// ln x for a positive, normal x: x = 2ᵏ·m, ln m = 2·artanh(s) = 2s·(1 + z/3 + z²/5 + …) with s = (m − 1)/(m + 1) and
/// z = s² ≤ 0.0295; eleven terms leave less than 1e-18. Within 1e-15 of the larger of 1 and |ln x|.
#[inline]
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = bits.wrapping_sub(SQRT_HALF).cast_signed() >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent << 52).cast_unsigned()));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let (z2, z4) = (z * z, z * z * (z * z));
    let first = z * (1.0 / 3.0) + z2 * (1.0 / 5.0 + z * (1.0 / 7.0)) + z4 * (1.0 / 9.0 + z * (1.0 / 11.0));
    let second = 1.0 / 13.0 + z * (1.0 / 15.0) + z2 * (1.0 / 17.0 + z * (1.0 / 19.0)) + z4 * (1.0 / 21.0);
    let series = first + z4 * z2 * second;
    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "an exponent is below 2¹¹")]
    let k = exponent as f64;
    k * LN2_HIGH + (2.0 * s + (2.0 * s * series + k * LN2_LOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_logarithm() {
        let mut x = 1e-30;
        while x < 1e30 {
            let (got, want) = (ln(x), x.ln());
            assert!((got - want).abs() <= 1e-15 * want.abs().max(1.0), "ln {x}: {got} is not {want}");
            x *= 1.000_37;
        }
        for n in 0..10_000u32 {
            let x = 1.0 + (f64::from(n) - 5000.0) * 1e-6;
            assert!((ln(x) - x.ln()).abs() <= 1e-17, "ln {x}");
        }
        assert_eq!(ln(1.0).to_bits(), 0);
    }

    #[test]
    fn its_bits_are_pinned() {
        let got = [2.0, 10.0, 0.1, 1.01, 1e12].map(|x| ln(x).to_bits());
        let want = [
            0x3fe6_2e42_fefa_39ef,
            0x4002_6bb1_bbb5_5516,
            0xc002_6bb1_bbb5_5515,
            0x3f84_60d6_ccca_367d,
            0x403b_a18a_998f_ffa0,
        ];
        assert_eq!(got, want, "{got:#x?}");
    }
}
