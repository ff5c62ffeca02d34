//! Decimals as whole numbers of their last digit.

use std::cmp::Ordering;

/// `digits / 10^scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    pub(crate) digits: i128,
    pub(crate) scale: u32,
}

fn ten(power: u32) -> i128 {
    (0..power).fold(1, |product, _| product * 10)
}

impl Number {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i64::try_from(fraction.len()).ok()? - exponent;
        if !(-30..=30).contains(&scale) {
            return None;
        }
        Some(match u32::try_from(scale) {
            Ok(scale) => Self { digits, scale },
            Err(_) => Self { digits: digits * ten(u32::try_from(-scale).ok()?), scale: 0 },
        })
    }

    pub(crate) fn whole(digits: usize) -> Self {
        Self { digits: i128::try_from(digits).unwrap(), scale: 0 }
    }

    /// The same number in units of a finer digit.
    fn at(self, scale: u32) -> i128 {
        self.digits * ten(scale - self.scale)
    }

    fn both(self, other: Self) -> (i128, i128, u32) {
        let scale = self.scale.max(other.scale);
        (self.at(scale), other.at(scale), scale)
    }

    pub(crate) fn order(self, other: Self) -> Ordering {
        let (a, b, _) = self.both(other);
        a.cmp(&b)
    }

    /// Arithmetic by the operator's name; nothing where the divisor is zero.
    pub(crate) fn calculate(self, operator: &str, other: Self) -> Option<Self> {
        let (a, b, scale) = self.both(other);
        if b == 0 && matches!(operator, "/" | "div" | "mod") {
            return None;
        }
        Some(match operator {
            "+" => Self { digits: a + b, scale },
            "-" => Self { digits: a - b, scale },
            "*" => Self { digits: self.digits * other.digits, scale: self.scale + other.scale },
            "div" => Self { digits: a / b, scale: 0 },
            "mod" => Self { digits: a % b, scale },
            // Eight digits more than the operands have, the last one rounded; zeros at the end tell nothing.
            _ => Self { digits: a * ten(scale + 9) / b, scale: scale + 9 }.rounded(scale + 8).plain(),
        })
    }

    /// Half away from zero.
    pub(crate) fn rounded(self, scale: u32) -> Self {
        if scale >= self.scale {
            return self;
        }
        let unit = ten(self.scale - scale);
        let half = if self.digits < 0 { -unit / 2 } else { unit / 2 };
        Self { digits: (self.digits + half) / unit, scale }
    }

    pub(crate) fn whole_part(self, name: &str) -> Self {
        let (unit, digits) = (ten(self.scale), self.digits);
        let (quotient, rest) = (digits / unit, digits % unit);
        let digits = match name {
            "floor" if rest < 0 => quotient - 1,
            "ceiling" if rest > 0 => quotient + 1,
            _ => quotient,
        };
        Self { digits, scale: 0 }
    }

    /// Half a unit of the last digit less or more.
    pub(crate) fn boundary(self, high: bool) -> Self {
        Self { digits: self.digits * 10 + if high { 5 } else { -5 }, scale: self.scale + 1 }
    }

    pub(crate) fn plain(mut self) -> Self {
        while self.scale > 0 && self.digits % 10 == 0 {
            self = Self { digits: self.digits / 10, scale: self.scale - 1 };
        }
        self
    }

    pub(crate) fn text(self) -> String {
        let all = format!("{:0>width$}", self.digits.unsigned_abs(), width = self.scale as usize + 1);
        let (whole, fraction) = all.split_at(all.len() - self.scale as usize);
        let sign = if self.digits < 0 { "-" } else { "" };
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}
