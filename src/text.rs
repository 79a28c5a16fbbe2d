//! Texts for people, put together of parts.
//!
//! What `format!` can do beyond this, no message here needs, and a page would load it for them.

/// The text of these parts, one behind the other.
macro_rules! text {
    ($($part:expr),+ $(,)?) => {{
        let mut text = String::new();
        $( $crate::text::Part::put(&$part, &mut text); )+
        text
    }};
}
pub(crate) use text;

use std::fmt;

/// Something that can be a part of a text.
pub(crate) trait Part {
    /// Puts it behind what is there already.
    fn put(&self, text: &mut String);
}

impl<T: Part + ?Sized> Part for &T {
    fn put(&self, text: &mut String) {
        (**self).put(text);
    }
}

impl Part for str {
    fn put(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl Part for String {
    fn put(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl Part for u64 {
    fn put(&self, text: &mut String) {
        digits(*self, 10, text);
    }
}

impl Part for usize {
    fn put(&self, text: &mut String) {
        (*self as u64).put(text);
    }
}

/// What is formatted otherwise.
impl Part for fmt::Arguments<'_> {
    fn put(&self, text: &mut String) {
        text.push_str(&self.to_string());
    }
}

/// Writes a number to a base of at most 16.
pub(crate) fn digits(number: u64, base: u64, text: &mut String) {
    if number >= base {
        digits(number / base, base, text);
    }
    text.push(char::from(b"0123456789abcdef"[(number % base) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Random, test};

    #[test]
    fn parts_follow_each_other() {
        assert_eq!(text!("of ", 12usize, String::from(" or "), &0u64, &&""), "of 12 or 0");
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let mut random = Random::new(3);
        for _ in 0..1000 {
            let number = random.number();
            let mut hexadecimal = String::new();
            digits(number, 16, &mut hexadecimal);
            assert_eq!((text!(number), hexadecimal), (format!("{number}"), format!("{number:x}")));
        }
    }
}
