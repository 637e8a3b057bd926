//! TLS for upstream and Redis alike: rustls with ring, trusting what the system trusts.

/// Chooses the cryptography for all connections; may be called more than once.
pub(crate) fn prepare() {
    // An error only says that it has been chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
