//! How wide a token is.

use crate::database::TokenRecord;

impl TokenRecord {
    /// Whether it opens whatever its user may.
    pub fn is_whole(&self) -> bool {
        self.devices.is_none() && self.actions.is_none()
    }

    /// Whether it opens nothing that another token of the same user does not.
    pub fn is_within(&self, other: &Self) -> bool {
        within(self.devices.as_deref(), other.devices.as_deref())
            && within(self.actions.as_deref(), other.actions.as_deref())
    }
}

/// None is everything.
fn within<T: PartialEq>(narrow: Option<&[T]>, wide: Option<&[T]>) -> bool {
    match (narrow, wide) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(narrow), Some(wide)) => narrow.iter().all(|one| wide.contains(one)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_narrowed_holds_what_is_whole() {
        for (narrow, wide, expected) in [
            (None, None, true),
            (Some(&[1][..]), None, true),
            (None, Some(&[1][..]), false),
            (Some(&[1]), Some(&[1, 2]), true),
            (Some(&[1, 3]), Some(&[1, 2]), false),
        ] {
            assert_eq!(within(narrow, wide), expected, "{narrow:?} in {wide:?}");
        }
    }
}
