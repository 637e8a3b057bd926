//! Certificates of the test's own: an issuer, and a server at 127.0.0.1.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::process::TempDir;

/// An issuer, and a server's certificate from it, as files.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Panics
    /// When they cannot be made or written.
    #[must_use]
    pub fn make() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let key = || KeyPair::generate().expect("a key");
        let mut issuer = CertificateParams::default();
        issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(issuer, key()).expect("an issuer");
        let server_key = key();
        let server = CertificateParams::new(["127.0.0.1".to_owned()])
            .and_then(|server| server.signed_by(&server_key, &issuer))
            .expect("a certificate");
        for (name, text) in [
            ("issuer.pem", issuer.pem()),
            ("server.pem", server.pem()),
            ("key.pem", server_key.serialize_pem()),
        ] {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let bundle = server.pem() + &server_key.serialize_pem();
        fs::write(folder.path().join("bundle.pem"), bundle).expect("a file");
        Self { folder }
    }

    /// The issuer's certificate, for whoever is to trust the server.
    #[must_use]
    pub fn issuer(&self) -> PathBuf {
        self.folder.path().join("issuer.pem")
    }

    /// The server's certificate and its key in one file.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle.pem")
    }

    /// The server's certificate and its key.
    pub(crate) fn of_the_server(&self) -> [String; 2] {
        ["server.pem", "key.pem"]
            .map(|name| self.folder.path().join(name).to_string_lossy().into_owned())
    }
}
