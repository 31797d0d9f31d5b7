//! What the operator can do about a failure, which neither DDS nor the error of a library says.

use std::error::Error;
use std::io;

use hyper::StatusCode;
use rustls::{CertificateError, InvalidMessage};

use super::failure::FailureClass;
use super::path;
use crate::http_client::ProxyFailed;

const CHECK_PROXY: &str = "; check the settings of the proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY)";
pub(super) const CHECK_URL: &str = "; check that dds_base_url is the URL of a DDS";

/// About a refusal of a request to this path.
pub(super) fn on_refusal(class: FailureClass, status: StatusCode, to: &str) -> &'static str {
    match (class, status, to) {
        (FailureClass::Conflict, _, path::CHALLENGE | path::REGISTER | path::REGISTER_URL) => {
            "; another online node holds this wallet"
        }
        (
            FailureClass::Refused,
            StatusCode::UNAUTHORIZED,
            path::REGISTER | path::REGISTER_URL | path::ROBOT_REGISTER | path::ROBOT_VERIFY,
        ) => "; check that reg_secret is the whole text that the console shows",
        (_, StatusCode::PROXY_AUTHENTICATION_REQUIRED, _) => CHECK_PROXY,
        // The first request of a node. Before the others, the URL has proved right.
        (
            _,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED,
            path::CHALLENGE | path::REGISTER_URL | path::ROBOT_REGISTER,
        ) => CHECK_URL,
        _ => "",
    }
}

/// About a request without an answer, by a client of the host or one with the options of a node.
pub(super) fn on_error(error: &(dyn Error + 'static), of_host: bool) -> &'static str {
    if find::<ProxyFailed>(error).is_some() {
        return CHECK_PROXY;
    }
    match find(error) {
        // The first bytes of a peer were not TLS.
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            " (the server does not use TLS at this port, or a proxy responds in its place)"
        }
        Some(rustls::Error::InvalidCertificate(error)) => on_certificate(error, of_host),
        _ => "",
    }
}

fn on_certificate(error: &CertificateError, of_host: bool) -> &'static str {
    use CertificateError as Certificate;
    match error {
        Certificate::UnknownIssuer if of_host => {
            "; if a private CA issued it, add that CA's certificate to the HTTP client"
        }
        Certificate::UnknownIssuer => "; if a private CA issued it, set ca_file to that CA's certificate",
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => {
            "; check the clock of this machine, or have the certificate renewed"
        }
        // The names in it are not to be trusted: anyone may have answered.
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "; check the host in dds_base_url, and that nothing else answers in its place"
        }
        // webpki's error, whose type rustls hides.
        Certificate::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
            "; the server presents a CA certificate, and needs one that the CA issued"
        }
        _ => "",
    }
}

/// Finds an error of this type among the causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an `io::Error` is made of is not its source.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_a_host_has_no_option_ca_file() {
        let untrusted = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        // As tokio-rustls returns it.
        let error = io::Error::new(io::ErrorKind::InvalidData, untrusted);
        assert!(on_error(&error, false).contains("ca_file"));
        assert!(on_error(&error, true).ends_with("add that CA's certificate to the HTTP client"));
        assert_eq!(on_error(&io::Error::other("something else"), false), "");
    }

    #[test]
    fn a_url_that_has_proved_right_is_not_doubted() {
        let advice = |status, to| on_refusal(FailureClass::Refused, status, to);
        for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED] {
            for first in [path::CHALLENGE, path::REGISTER_URL, path::ROBOT_REGISTER] {
                assert_eq!(advice(status, first), CHECK_URL);
            }
            for later in [path::REGISTER, path::VERIFY, path::ROBOT_VERIFY] {
                assert_eq!(advice(status, later), "");
            }
        }
    }
}
