//! How log probabilities are written in 32 bits.

/// The magnitudes that float32 has with all its digits; zero aside.
const LEAST: f64 = f32::MIN_POSITIVE as f64;
const MOST: f64 = f32::MAX as f64;

/// Whether a number is zero, or of a size that float32 has with all its digits.
#[inline]
pub fn is_spelled(value: f64) -> bool {
    let size = value.abs();
    size == 0.0 || (LEAST..=MOST).contains(&size)
}

/// The double that the shortest decimal of a float32 names: of those the closest, of two the one
/// with the even digit.
#[inline]
pub fn decimal(value: f32) -> f64 {
    let mut buffer = zmij::Buffer::new();
    fast_float2::parse(buffer.format_finite(value)).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{decimal, is_spelled};

    /// The standard library's shortest decimals are as close; of two it does not take the even one.
    fn check(value: f32) {
        let standard = format!("{value:e}");
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        let said = decimal(value);
        assert_eq!(value.to_bits(), (said as f32).to_bits());
        let other: f64 = standard.parse().unwrap();
        if said.to_bits() == other.to_bits() {
            return;
        }
        let exact = f64::from(value);
        let distance = (other - exact).abs(); // except for the rounding of the decimals
        assert!(
            ((said - exact).abs() - distance).abs() < distance * 1e-6,
            "{value:e}"
        );
        let digits = text.split('e').next().unwrap().trim_end_matches(".0");
        assert!(matches!(
            digits.as_bytes().last(),
            Some(b'0' | b'2' | b'4' | b'6' | b'8')
        ));
    }

    #[test]
    fn decimals_are_the_shortest() {
        let mut bits = 1u32;
        for _ in 0..2_000_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            if value.is_finite() {
                check(value);
            }
        }
        for exponent in 0..255u32 {
            for mantissa in [0, 1, 2, 0x3f_ffff, 0x40_0000, 0x7f_fffe, 0x7f_ffff] {
                check(f32::from_bits(exponent << 23 | mantissa));
            }
        }
        for quarters in (1 << 22..1 << 23).step_by(7) {
            check(quarters as f32 / 4.0);
        }
    }

    #[test]
    fn corrections_fit() {
        let mut bits = 1u64;
        for _ in 0..2_000_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Of the exponents only those around the range of float32 are of interest.
            let exponent = 1023 - 130 + (bits >> 20) % 262;
            let value = f64::from_bits(bits & !(0x7ff << 52) | exponent << 52);
            if is_spelled(value) {
                let single = value as f32;
                for said in [f64::from(single), decimal(single)] {
                    let correction = value.to_bits() as i64 - said.to_bits() as i64;
                    assert!(i32::try_from(correction).is_ok(), "{value:e}");
                }
            }
        }
    }
}
