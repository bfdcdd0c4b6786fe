//! Certificates and private keys in PEM files (RFC 7468), with errors that say what to do.
//!
//! Like Go's `pem.Decode()`, this reads each section separately: one that is damaged or incomplete
//! does not affect the others.

use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const BEGIN: &[u8] = b"-----BEGIN ";

/// A section of a file, from its BEGIN line up to that of the next section.
struct Section<'a> {
    /// The line on which it begins, counted from 1.
    line: usize,
    label: &'a [u8],
    text: &'a [u8],
}

/// The result for one certificate of a file.
pub(super) struct Found {
    /// The line on which it begins, counted from 1.
    pub(super) line: usize,
    pub(super) certificate: Result<CertificateDer<'static>, String>,
}

/// Returns the certificates of a file. An error says why there is none.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<Found>, String> {
    let found: Vec<_> = sections(file)
        .filter(|section| section.label == b"CERTIFICATE")
        .map(|section| Found {
            line: section.line,
            certificate: CertificateDer::from_pem_slice(section.text).map_err(describe),
        })
        .collect();
    if found.is_empty() {
        return Err(absence(file, "certificate", "openssl x509 -inform DER"));
    }
    Ok(found)
}

/// Returns the first private key of a file. An error says what is wrong with it.
pub(super) fn private_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let is_key = |section: &Section| section.label.ends_with(b"PRIVATE KEY");
    let Some(section) = sections(file).find(is_key) else {
        return Err(absence(file, "private key", "openssl pkey -inform DER"));
    };
    // A key is marked as encrypted by its label or, as in RFC 1421, by a header.
    let is_in = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|found| found == part);
    if section.label.starts_with(b"ENCRYPTED") || is_in(section.text, b"Proc-Type: 4,ENCRYPTED") {
        return Err(
            "the private key is encrypted; `openssl pkey -in FILE` decrypts it, and file \
             permissions can protect it"
                .to_owned(),
        );
    }
    PrivateKeyDer::from_pem_slice(section.text).map_err(|error| match error {
        Error::NoItemsFound => format!(
            "a key of the type {} is not supported",
            section.label.escape_ascii()
        ),
        error => format!("line {}: {}", section.line, describe(error)),
    })
}

fn sections(file: &[u8]) -> impl Iterator<Item = Section<'_>> {
    let mut begins = Vec::new();
    let mut offset = 0;
    for (i, line) in file.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if line.starts_with(BEGIN) {
            begins.push((i + 1, offset));
        }
        offset += line.len();
    }
    let ends: Vec<_> = begins.iter().skip(1).map(|(_, offset)| *offset).collect();
    let ends = ends.into_iter().chain([file.len()]);
    begins.into_iter().zip(ends).map(|((line, begin), end)| {
        let text = &file[begin..end];
        let rest = &text[BEGIN.len()..];
        let label = rest.windows(5).position(|dashes| dashes == b"-----");
        Section {
            line,
            label: &rest[..label.unwrap_or(0)],
            text,
        }
    })
}

fn describe(error: Error) -> String {
    match error {
        Error::MissingSectionEnd { end_marker } => format!(
            "the line -----END {}----- is missing; the file may be incomplete",
            end_marker.escape_ascii()
        ),
        Error::IllegalSectionStart { line } => {
            format!("malformed line: {}", line.trim_ascii().escape_ascii())
        }
        Error::Base64Decode(_) => "the text between BEGIN and END is not valid Base64".to_owned(),
        error => error.to_string(),
    }
}

/// Returns why a file has no certificate or key in PEM format.
fn absence(file: &[u8], what: &str, convert: &str) -> String {
    let labels: Vec<_> = sections(file)
        .map(|section| section.label.escape_ascii().to_string())
        .collect();
    let reason = if file.is_empty() {
        "it is empty".to_owned()
    } else if !labels.is_empty() {
        format!("it contains {}", labels.join(", "))
    } else if file[0] == 0x30 {
        // The first byte of a DER sequence, such as a binary certificate.
        format!("it is not in PEM format; `{convert} -in FILE` converts it")
    } else {
        "it is not in PEM format".to_owned()
    };
    format!("there is no {what} in it: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn results(file: &str) -> Vec<(usize, Option<String>)> {
        let found = certificates(file.as_bytes()).unwrap();
        let results = found.into_iter();
        results.map(|f| (f.line, f.certificate.err())).collect()
    }

    #[test]
    fn a_damaged_section_does_not_affect_the_others() {
        let incomplete = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let damaged = WHOLE.replace("AAAA", "A*");
        let file = format!("# text\n{WHOLE}{incomplete}{WHOLE}{damaged}{WHOLE}");
        let found = results(&file);
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 5, 7, 10, 13]);
        let reasons: Vec<_> = found.into_iter().map(|(_, reason)| reason).collect();
        let missing = reasons[1].as_deref().unwrap();
        assert!(missing.starts_with("the line -----END CERTIFICATE----- is missing"));
        assert!(reasons[3].as_deref().unwrap().contains("Base64"));
        assert_eq!([&reasons[0], &reasons[2], &reasons[4]], [&None; 3]);
    }

    #[test]
    fn what_has_no_certificate_is_described() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (file, reason) in [
            ("", "it is empty"),
            ("hello\n", "it is not in PEM format"),
            ("0\u{1}", "`openssl x509 -inform DER -in FILE` converts it"),
            (key, "it contains PRIVATE KEY"),
            ("-----BEGIN CERT\n", "it contains "),
        ] {
            let error = certificates(file.as_bytes()).err().unwrap();
            assert!(
                error.starts_with("there is no certificate in it: "),
                "{error}"
            );
            assert!(error.ends_with(reason), "{error}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_described() {
        let section = |label: &str, text: &str| {
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        for (file, reason) in [
            (String::new(), "it is empty"),
            (WHOLE.to_owned(), "it contains CERTIFICATE"),
            (section("ENCRYPTED PRIVATE KEY", "AAAA"), "is encrypted"),
            (
                section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"),
                "is encrypted",
            ),
            (
                section("OPENSSH PRIVATE KEY", "AAAA"),
                "type OPENSSH PRIVATE KEY is not",
            ),
            (section("PRIVATE KEY", "A*"), "line 1: the text between"),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n".to_owned(),
                "line 1: the line -----END",
            ),
        ] {
            let error = private_key(file.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let file = WHOLE.to_owned()
            + &section("EC PARAMETERS", "AAAA")
            + &section("EC PRIVATE KEY", "AAAA");
        assert!(private_key(file.as_bytes()).is_ok());
    }
}
