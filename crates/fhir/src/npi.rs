//! National Provider Identifiers: ten digits, the last of which is a Luhn check digit over the prefix 80840 and the
//! first nine (CMS, NPI check digit).

/// What the prefix 80840 adds to the Luhn sum.
const PREFIX_SUM: u32 = 24;

/// The check digit of the first nine digits; nothing where they are not nine digits.
#[must_use]
pub fn check_digit(first_nine: &str) -> Option<char> {
    let digits: Vec<u32> = first_nine.chars().map(|c| c.to_digit(10)).collect::<Option<_>>()?;
    if digits.len() != 9 {
        return None;
    }
    let sum: u32 = digits
        .iter()
        .enumerate()
        // From the right, every second digit is doubled, beginning with the ninth.
        .map(|(place, digit)| if place % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
        .sum();
    char::from_digit((10 - (sum + PREFIX_SUM) % 10) % 10, 10)
}

/// Whether a text is a well-formed NPI. It says nothing of whether it was ever issued.
#[must_use]
pub fn is_valid(npi: &str) -> bool {
    npi.is_ascii() && npi.len() == 10 && check_digit(&npi[..9]).is_some_and(|check| npi.ends_with(check))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_those_of_cms() {
        // The example of the CMS document on the check digit.
        assert_eq!(check_digit("123456789"), Some('3'));
        for (npi, valid) in [
            ("1234567893", true),
            ("1234567890", false),
            ("123456789", false),
            ("12345678931", false),
            ("123456789x", false),
            ("", false),
            ("１２３４５６７８９３", false),
        ] {
            assert_eq!(is_valid(npi), valid, "{npi}");
        }
    }
}
