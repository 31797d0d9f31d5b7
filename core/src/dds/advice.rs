//! What the operator can do about a failure, which neither DDS nor the error of a library says.

use std::error::Error;
use std::io;

use hyper::StatusCode;
use rustls::{CertificateError, InvalidMessage};

use super::failure::FailureClass;
use super::path;

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
        (FailureClass::Refused, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED, _)
        | (_, StatusCode::NOT_IMPLEMENTED, _) => CHECK_URL,
        _ => "",
    }
}

/// About a request without an answer.
pub(super) fn on_error(error: &(dyn Error + 'static)) -> &'static str {
    match rustls_error(error) {
        // The first bytes of a peer were not TLS.
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            " (the server does not use TLS at this port, or a proxy responds in its place)"
        }
        Some(rustls::Error::InvalidCertificate(error)) => on_certificate(error),
        _ => "",
    }
}

fn on_certificate(error: &CertificateError) -> &'static str {
    use CertificateError as Certificate;
    match error {
        Certificate::UnknownIssuer => {
            "; if an authority of your own signed it, set ca_file to the certificate of that authority"
        }
        Certificate::Expired
        | Certificate::ExpiredContext { .. }
        | Certificate::NotValidYet
        | Certificate::NotValidYetContext { .. } => {
            "; check the clock of this machine, or have the certificate renewed"
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "; set dds_base_url to a name that the certificate has"
        }
        // webpki's error, whose type rustls hides.
        Certificate::Other(error) if error.to_string().contains("CaUsedAsEndEntity") => {
            "; the server shows the certificate of an authority (CA:TRUE), and needs one that it signed"
        }
        _ => "",
    }
}

/// Finds the error of TLS among the causes.
fn rustls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
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
