//! Phone numbers, and the one form in which they are compared.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A phone number in E.164 form without the `+`: 7 to 15 digits, the first not zero.
///
/// Two texts of one number can differ (see [`PhoneNumber::canonical`]): this type keeps what was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(into = "String", try_from = "String")]
#[schema(example = "525550000001")]
pub struct PhoneNumber(String);

/// A number in the form in which numbers are compared: claims, duplicates and mismatches.
///
/// It is a key, not a number to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(into = "String", try_from = "String")]
pub struct CanonicalNumber(String);

/// The text is not a phone number.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is not a phone number: write the country code and the number, 7 to 15 digits, like 525550000001"
)]
pub struct InvalidNumber {
    text: String,
}

impl PhoneNumber {
    /// The regular expression of what is accepted, for the resource's schema.
    pub const PATTERN: &'static str = "^[1-9][0-9]{6,14}$";

    /// The digits, without `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number in the form in which numbers are compared.
    ///
    /// What people dial and what WhatsApp registers differ in three countries: Mexico (`52` and `521` before ten digits), Argentina
    /// (`54` and `549` before ten digits) and Brazil (mobile numbers with and without the ninth digit after the area code). The
    /// shorter form is the canonical one.
    pub fn canonical(&self) -> CanonicalNumber {
        CanonicalNumber(shortest(&self.0))
    }
}

fn shortest(digits: &str) -> String {
    let without = |at: usize| format!("{}{}", &digits[..at], &digits[at + 1..]);
    match digits.len() {
        13 if digits.starts_with("521") || digits.starts_with("549") => without(2),
        // Brazil: country (2), area (2), the ninth digit, eight digits of which the first of a mobile number is 6 to 9.
        13 if digits.starts_with("55") && digits.as_bytes()[4] == b'9' && digits.as_bytes()[5] >= b'6' => {
            without(4)
        }
        _ => digits.to_owned(),
    }
}

impl CanonicalNumber {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = InvalidNumber;

    /// Digits, with or without a leading `+`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let ok = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if ok { Ok(Self(digits.to_owned())) } else { Err(InvalidNumber { text: text.to_owned() }) }
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = InvalidNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for CanonicalNumber {
    type Error = InvalidNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(text.parse::<PhoneNumber>()?.canonical())
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> Self {
        number.0
    }
}

impl From<CanonicalNumber> for String {
    fn from(number: CanonicalNumber) -> Self {
        number.0
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CanonicalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for PhoneNumber {
    fn schema_name() -> Cow<'static, str> {
        "PhoneNumber".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN, "maxLength": 15 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_number_have_one_canonical_form() {
        for (written, canonical) in [
            // Mexico: with and without the 1 of mobile numbers.
            ("525550000001", "525550000001"),
            ("5215550000001", "525550000001"),
            // Argentina: with and without the 9 of mobile numbers.
            ("541100000001", "541100000001"),
            ("5491100000001", "541100000001"),
            // Brazil: mobile numbers with and without the ninth digit.
            ("551160000001", "551160000001"),
            ("5511960000001", "551160000001"),
            ("5511999000001", "551199000001"),
            // Brazil: a ninth digit before 0 to 5 is no mobile number's.
            ("5511910000001", "5511910000001"),
            // Elsewhere nothing changes.
            ("4915100000001", "4915100000001"),
            ("12025550100", "12025550100"),
        ] {
            let number: PhoneNumber = written.parse().unwrap();
            assert_eq!(number.canonical().as_str(), canonical, "{written}");
            assert_eq!(
                number.canonical().as_str().parse::<PhoneNumber>().unwrap().canonical().as_str(),
                canonical,
                "the canonical form of {written} is its own canonical form"
            );
        }
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_the_form() {
        for text in ["", "+", "0123456789", "123456", "1234567890123456", "52 55", "52-55500000", "٥٢٥٥٥"]
        {
            let error = text.parse::<PhoneNumber>().unwrap_err().to_string();
            assert!(error.contains("7 to 15 digits"), "{text}: {error}");
        }
        assert_eq!("+525550000001".parse::<PhoneNumber>().unwrap().as_str(), "525550000001");
    }
}
