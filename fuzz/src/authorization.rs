//! The `Authorization` header: accepted, and taken apart, exactly as a plain model of RFC 7617 and
//! RFC 4648 does.

use domain::settings::credentials::{Account, Credentials, ExpectedPassword};

/// Reads a header's value, and holds it against the account that it names.
///
/// # Panics
/// When it is taken for something else than the model takes it for.
pub fn check(data: &[u8]) {
    let presented = Credentials::from_header(data);
    let expected = model(data);
    assert_eq!(presented.is_some(), expected.is_some());
    let (Some(presented), Some((id, password))) = (presented, expected) else {
        return;
    };
    let mut fingerprint = (id.len() as u64).to_be_bytes().to_vec();
    fingerprint.extend_from_slice(&id);
    fingerprint.extend_from_slice(&password);
    assert_eq!(presented.fingerprint_input(), fingerprint);
    let texts = (String::from_utf8(id), String::from_utf8(password));
    if let (Ok(id), Ok(password)) = texts
        && let Ok(password @ ExpectedPassword::Plain(_)) = ExpectedPassword::parse(&password)
    {
        let other = Account {
            id: format!("{id}x"),
            password: password.clone(),
        };
        assert!(!other.verify(&presented));
        assert!(Account { id, password }.verify(&presented));
    }
}

/// The user id and the password that a header's value holds.
fn model(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if value.len() > 4096 || !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = base64(rest.trim_ascii())?;
    let mut parts = decoded.splitn(2, |byte| *byte == b':');
    Some((parts.next()?.to_vec(), parts.next()?.to_vec()))
}

/// Strict base64 with padding: one text for each value.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let groups = text.len().div_ceil(4);
    for (index, group) in text.chunks(4).enumerate() {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        if group.len() != 4 || padding > 2 || (padding > 0 && index + 1 < groups) {
            return None;
        }
        let mut bits = 0_u32;
        for byte in &group[..4 - padding] {
            let digit = ALPHABET.iter().position(|known| known == byte)?;
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        bits <<= 6 * padding;
        let bytes = &bits.to_be_bytes()[1..];
        if bytes[3 - padding..].iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[..3 - padding]);
    }
    Some(out)
}
