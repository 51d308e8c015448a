//! The decimal numbers of bytes, of which arrays of bytes are made.

/// A number from 0 to 255 as text.
pub struct Decimal {
    /// The digits, a comma behind them, and more commas.
    pub text: [u8; 4],
    /// How many digits there are.
    pub digits: usize,
}

pub const DECIMALS: [Decimal; 256] = {
    let mut table = [const {
        Decimal {
            text: [b','; 4],
            digits: 0,
        }
    }; 256];
    let mut byte = 0;
    while byte < 256 {
        let entry = &mut table[byte];
        if byte >= 100 {
            entry.text[entry.digits] = b'0' + (byte / 100) as u8;
            entry.digits += 1;
        }
        if byte >= 10 {
            entry.text[entry.digits] = b'0' + (byte / 10 % 10) as u8;
            entry.digits += 1;
        }
        entry.text[entry.digits] = b'0' + (byte % 10) as u8;
        entry.digits += 1;
        byte += 1;
    }
    table
};

/// Whether an array without white space that begins at a place is that of the bytes of a text.
/// Gives the place behind it.
#[inline]
pub fn skip_array_of(text: &[u8], json: &[u8], at: usize) -> Option<usize> {
    let (&last, others) = text.split_last()?;
    let mut at = at + 1;
    for &byte in others {
        let decimal = &DECIMALS[byte as usize];
        let here: &[u8; 4] = json.get(at..)?.first_chunk()?;
        let bits = 8 * (3 - decimal.digits as u32); // those that are not compared
        let difference = u32::from_le_bytes(*here) ^ u32::from_le_bytes(decimal.text);
        if difference << bits != 0 {
            return None;
        }
        at += decimal.digits + 1;
    }
    let decimal = &DECIMALS[last as usize];
    let end = at + decimal.digits;
    let rest = json.get(at..)?;
    let matches = match rest.first_chunk::<4>() {
        Some(here) => {
            let bits = 8 * (4 - decimal.digits as u32);
            let difference = u32::from_le_bytes(*here) ^ u32::from_le_bytes(decimal.text);
            difference << bits == 0
        }
        None => rest.starts_with(&decimal.text[..decimal.digits]),
    };
    (matches && json.get(end) == Some(&b']')).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::skip_array_of;

    #[test]
    fn arrays_of_bytes() {
        let cases: [(&[u8], &[u8], Option<usize>); 9] = [
            (b"H", b"[72]", Some(4)),
            (b"Hi\xff\x00", b"[72,105,255,0],", Some(14)),
            (b"Hi", b"[72,105", None),
            (b"Hi", b"[72,1050]", None),
            (b"Hi", b"[72,10]", None),
            (b"Hi", b"[72, 105]", None),
            (b"Hi", b"[721,105]", None),
            (b"\x01\x02", b"[1,2]", Some(5)),
            (b"", b"[]", None),
        ];
        for (text, json, expected) in cases {
            assert_eq!(expected, skip_array_of(text, json, 0), "{json:?}");
        }
    }
}
