//! Decimals, exactly: FHIR's numbers never pass through floating point.

use std::cmp::Ordering;

/// A decimal number: `digits / 10^scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    digits: i128,
    scale: u32,
}

/// Digits that fit an `i128`, and Arrow's Decimal128.
const MOST_DIGITS: u32 = 38;

impl Decimal {
    /// Reads a JSON number; nothing where it has more digits than fit.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.find(['e', 'E']) {
            Some(place) => (&text[..place], text[place + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut digits: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
            digits = digits.checked_mul(10)?.checked_add(digit)?;
        }
        let scale = i32::try_from(fraction.len()).ok()? - exponent;
        if scale < 0 {
            digits = digits.checked_mul(10_i128.checked_pow(scale.unsigned_abs())?)?;
        }
        let scale = u32::try_from(scale.max(0)).ok().filter(|scale| *scale <= MOST_DIGITS)?;
        Some(Self { digits: if negative { -digits } else { digits }, scale })
    }

    pub(crate) fn whole(number: i64) -> Self {
        Self { digits: i128::from(number), scale: 0 }
    }

    pub(crate) fn negated(self) -> Self {
        Self { digits: -self.digits, ..self }
    }

    pub(crate) fn as_index(self) -> Option<usize> {
        (self.scale == 0).then(|| usize::try_from(self.digits).ok()).flatten()
    }

    /// The digits at another scale, half rounded away from zero, as SQL's CAST does; nothing where they have more than
    /// `precision` digits.
    pub(crate) fn at_scale(self, scale: u32, precision: u32) -> Option<i128> {
        let digits = if scale >= self.scale {
            self.digits.checked_mul(10_i128.checked_pow(scale - self.scale)?)?
        } else {
            let divisor = 10_i128.checked_pow(self.scale - scale)?;
            let (quotient, rest) = (self.digits / divisor, self.digits % divisor);
            quotient + if rest.abs() * 2 >= divisor { self.digits.signum() } else { 0 }
        };
        (digits.unsigned_abs() < 10_u128.checked_pow(precision)?).then_some(digits)
    }

    /// Half a unit of its last digit less or more: the range that its precision leaves open.
    pub(crate) fn boundary(self, high: bool) -> Option<Self> {
        let digits = self.digits.checked_mul(10)?.checked_add(if high { 5 } else { -5 })?;
        Some(Self { digits, scale: self.scale + 1 }).filter(|number| number.scale <= MOST_DIGITS)
    }

    /// A whole number of any size, if it is one.
    pub(crate) fn to_i64(self) -> Option<i64> {
        let divisor = 10_i128.checked_pow(self.scale)?;
        (self.digits % divisor == 0).then(|| i64::try_from(self.digits / divisor).ok()).flatten()
    }

    pub(crate) fn add(self, other: Self, subtract: bool) -> Option<Self> {
        let (a, b, scale) = self.aligned(other)?;
        let digits = if subtract { a.checked_sub(b)? } else { a.checked_add(b)? };
        Some(Self { digits, scale })
    }

    pub(crate) fn multiply(self, other: Self) -> Option<Self> {
        let scale = self.scale + other.scale;
        Some(Self { digits: self.digits.checked_mul(other.digits)?, scale }).filter(|_| scale <= MOST_DIGITS)
    }

    /// Division with eight digits more than the operands have, which is what FHIRPath asks for at the least.
    pub(crate) fn divide(self, other: Self) -> Option<Self> {
        if other.digits == 0 {
            return None;
        }
        let scale = self.scale.max(other.scale) + 8;
        let dividend = self.digits.checked_mul(10_i128.checked_pow(scale + other.scale - self.scale)?)?;
        let mut quotient = Self { digits: dividend / other.digits, scale };
        while quotient.scale > 0 && quotient.digits % 10 == 0 {
            quotient = Self { digits: quotient.digits / 10, scale: quotient.scale - 1 };
        }
        Some(quotient)
    }

    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        let (a, b, _) = self.aligned(other)?;
        Some(a.cmp(&b))
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let a = self.digits.checked_mul(10_i128.checked_pow(scale - self.scale)?)?;
        let b = other.digits.checked_mul(10_i128.checked_pow(scale - other.scale)?)?;
        Some((a, b, scale))
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = self.digits.unsigned_abs().to_string();
        let scale = self.scale as usize;
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        let number = |text: &str| Decimal::parse(text).unwrap();
        for (text, shown) in [("1.50", "1.50"), ("-0.1", "-0.1"), ("1e3", "1000"), ("12.5E-1", "1.25"), ("007", "7")] {
            assert_eq!(number(text).to_string(), shown);
        }
        for text in ["", ".", "-", "1x", "9999999999999999999999999999999999999999", "1e-99"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
        assert_eq!(number("0.1").add(number("0.2"), false).unwrap().to_string(), "0.3");
        assert_eq!(number("1.0").compare(number("1")), Some(Ordering::Equal));
        assert_eq!(number("10").divide(number("4")).unwrap().to_string(), "2.5");
        assert_eq!(number("2.675").at_scale(2, 5), Some(268));
        assert_eq!(number("-2.675").at_scale(2, 5), Some(-268));
        assert_eq!(number("1234.5").at_scale(2, 5), None);
        assert_eq!((number("3.0").to_i64(), number("3.5").to_i64()), (Some(3), None));
    }
}
