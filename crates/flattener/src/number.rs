//! Decimals, exactly: FHIR's numbers never pass through floating point.

use std::cmp::Ordering;

/// A decimal number: `digits / 10^scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    digits: i128,
    scale: u32,
}

/// Which whole number is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Towards {
    Zero,
    Below,
    Above,
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
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
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

    /// The next number of so many digits behind the point: above or below it, or itself.
    pub(crate) fn outwards(self, scale: u32, above: bool) -> Option<Self> {
        if scale >= self.scale {
            let digits = self.digits.checked_mul(10_i128.checked_pow(scale - self.scale)?)?;
            return Some(Self { digits, scale }).filter(|_| scale <= MOST_DIGITS);
        }
        let unit = 10_i128.checked_pow(self.scale - scale)?;
        let digits = if above { -(-self.digits).div_euclid(unit) } else { self.digits.div_euclid(unit) };
        Some(Self { digits, scale })
    }

    /// A whole number of any size, if it is one.
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.scale == 0 {
            return i64::try_from(self.digits).ok();
        }
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

    /// Division with eight digits more than the operands have, which is what FHIRPath asks for at the least; fewer where
    /// they do not fit. The last one is rounded, half away from zero. Nothing where the divisor is zero.
    pub(crate) fn divide(self, other: Self) -> Option<Self> {
        if other.digits == 0 {
            return None;
        }
        let finest = (self.scale.max(other.scale) + 8).min(MOST_DIGITS);
        // digits / 10^scale = (a / 10^sa) / (b / 10^sb), so a is multiplied by 10^(scale + sb - sa).
        (0..=finest).rev().find_map(|scale| {
            let power = i64::from(scale) + i64::from(other.scale) - i64::from(self.scale);
            let factor = 10_i128.checked_pow(u32::try_from(power).ok()?)?;
            let dividend = self.digits.checked_mul(factor)?;
            let (quotient, rest) = (dividend / other.digits, (dividend % other.digits).unsigned_abs());
            let up = rest >= other.digits.unsigned_abs() - rest;
            let away = if up { dividend.signum() * other.digits.signum() } else { 0 };
            Some(Self { digits: quotient.checked_add(away)?, scale }.shortened())
        })
    }

    /// The whole part of a division; nothing where the divisor is zero.
    pub(crate) fn quotient(self, other: Self) -> Option<Self> {
        let (a, b, _) = self.aligned(other)?;
        Some(Self { digits: a.checked_div(b)?, scale: 0 })
    }

    /// The rest of a division, with the sign of the dividend; nothing where the divisor is zero.
    pub(crate) fn remainder(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Self { digits: a.checked_rem(b)?, scale })
    }

    pub(crate) fn absolute(self) -> Self {
        Self { digits: self.digits.abs(), ..self }
    }

    /// The nearest number of `scale` digits behind the point, half away from zero.
    pub(crate) fn rounded(self, scale: u32) -> Option<Self> {
        if scale >= self.scale { Some(self) } else { Some(Self { digits: self.at_scale(scale, MOST_DIGITS)?, scale }) }
    }

    /// The whole number next to it: towards zero, up or down.
    pub(crate) fn whole_part(self, towards: Towards) -> Option<Self> {
        let divisor = 10_i128.checked_pow(self.scale)?;
        let digits = match towards {
            Towards::Zero => self.digits / divisor,
            Towards::Below => self.digits.div_euclid(divisor),
            Towards::Above => -(-self.digits).div_euclid(divisor),
        };
        Some(Self { digits, scale: 0 })
    }

    /// The digits behind the point, as written.
    pub(crate) fn scale(self) -> u32 {
        self.scale
    }

    /// The same number without zeros at the end of its fraction.
    pub(crate) fn shortened(mut self) -> Self {
        while self.scale > 0 && self.digits % 10 == 0 {
            self = Self { digits: self.digits / 10, scale: self.scale - 1 };
        }
        self
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

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self::whole(number)
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
        let shown = |number: Option<Decimal>| number.map(|number| number.to_string()).unwrap_or_default();
        assert_eq!(shown(number("1").divide(number("3"))), "0.33333333");
        assert_eq!(shown(number("-2").divide(number("3"))), "-0.66666667");
        assert_eq!(shown(number("1").divide(number("0.0"))), "");
        assert_eq!(
            shown(number("12345678901234567890123456789012345").divide(number("2"))),
            "6172839450617283945061728394506172.5"
        );
        assert_eq!(shown(number("5").quotient(number("2"))) + &shown(number("-5.5").quotient(number("0.7"))), "2-7");
        assert_eq!(
            shown(number("5.5").remainder(number("0.7"))) + &shown(number("-5").remainder(number("2"))),
            "0.6-1"
        );
        assert_eq!(shown(number("5").quotient(number("0"))) + &shown(number("5").remainder(number("0"))), "");
        assert_eq!(shown(number("3.14159").rounded(3)) + &shown(number("-1.5").rounded(0)), "3.142-2");
        let parts = |text| {
            [Towards::Zero, Towards::Below, Towards::Above].map(|towards| shown(number(text).whole_part(towards)))
        };
        assert_eq!(
            (parts("1.1"), parts("-1.1")),
            (["1", "1", "2"].map(Into::into), ["-1", "-2", "-1"].map(Into::into))
        );
        assert_eq!(number("2.675").at_scale(2, 5), Some(268));
        assert_eq!(number("-2.675").at_scale(2, 5), Some(-268));
        assert_eq!(number("1234.5").at_scale(2, 5), None);
        assert_eq!((number("3.0").to_i64(), number("3.5").to_i64()), (Some(3), None));
    }
}
