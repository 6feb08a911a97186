//! Phone numbers as the simulator keys its accounts: digits only.

/// The digits of what a person or a client wrote (`+52 55 5500 0001` → `525555000001`).
pub(crate) fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// The other spelling of a Mexican mobile number: `52` + ten digits and `521` + the same ten.
///
/// WhatsApp keeps such an account under one of the two and answers queries for either.
pub(crate) fn other_spelling(number: &str) -> Option<String> {
    let rest = number.strip_prefix("52")?;
    match rest.len() {
        10 => Some(format!("521{rest}")),
        11 => rest.strip_prefix('1').map(|ten| format!("52{ten}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mexican_numbers_have_two_spellings_and_others_have_one() {
        assert_eq!(other_spelling("525500000001").as_deref(), Some("5215500000001"));
        assert_eq!(other_spelling("5215500000001").as_deref(), Some("525500000001"));
        assert_eq!(other_spelling("551100000001"), None);
        assert_eq!(other_spelling("5255000"), None);
    }

    #[test]
    fn punctuation_is_dropped() {
        assert_eq!(digits("+52 (55) 0000-0001"), "525500000001");
    }
}
