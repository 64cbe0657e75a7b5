//! Splits a line into words, and parses numbers in them.
//!
//! Takes a line or a word. Gives the words, or the number. Does not look for Unicode white space. The kernel
//! prints ASCII, possibly a hundred thousand lines of it, and looking for other blanks would cost more than
//! everything else.

/// Returns the words between blanks.
pub(super) fn words(line: &str) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// Parses one to eight hexadecimal digits (`%08X`).
pub(super) fn hex(word: &[u8]) -> Option<u32> {
    if word.is_empty() || word.len() > 8 {
        return None;
    }
    word.iter().try_fold(0, |number, byte| Some(number << 4 | char::from(*byte).to_digit(16)?))
}

/// Parses decimal digits (`%d` of a number that is never negative).
pub(super) fn decimal(word: &[u8]) -> Option<u32> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between_blanks() {
        let found: Vec<_> = words("  -> C000020A:1F90\tMasq  ").collect();
        assert_eq!(found, [b"->".as_slice(), b"C000020A:1F90", b"Masq"]);
        assert_eq!(words("  ").count(), 0);
    }

    #[test]
    fn numbers_are_read_whole_or_not_at_all() {
        assert_eq!(hex(b"0A60000f"), Some(0x0a60_000f));
        assert_eq!(hex(b"FFFFFFFF"), Some(u32::MAX));
        for wrong in ["", "123456789", "0x1", "-1", "1 "] {
            assert_eq!(hex(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        for wrong in ["", "4294967296", "99999999999", "-1", "+1", "1a"] {
            assert_eq!(decimal(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
