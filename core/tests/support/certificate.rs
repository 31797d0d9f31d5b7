//! A certificate for servers on loopback, and the authority that has signed it.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::place::Place;

pub(crate) struct Certificate(Place);

impl Certificate {
    /// Signed by an authority that nothing else knows.
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new([]).expect("no names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
        ca.distinguished_name.push(DnType::CommonName, "an authority for tests");
        let ca_pem = ca.self_signed(&ca_key).expect("signed").pem();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".into()]).expect("names");
        let certificate = params.signed_by(&key, &Issuer::new(ca, &ca_key)).expect("signed");
        for (name, pem) in
            [("ca.pem", ca_pem), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
        {
            std::fs::write(place.0.join(name), pem).expect("ours");
        }
        Self(place)
    }

    /// Of the authority, the certificate and its key, in PEM.
    pub(crate) fn paths(&self) -> [String; 3] {
        ["ca.pem", "cert.pem", "key.pem"].map(|name| {
            let path: PathBuf = self.0.0.join(name);
            path.to_str().expect("UTF-8").to_owned()
        })
    }

    pub(crate) fn ca_file(&self) -> String {
        let [ca, ..] = self.paths();
        ca
    }
}
