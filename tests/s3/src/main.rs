//! A real S3 server for the tests of the history: buckets are folders, and every request must be signed
//! with the one account's keys (AWS Signature Version 4), over TLS if it is told to.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Serves the folders in --root as the buckets of an S3 server, to whoever has the keys.
#[derive(Parser)]
struct Arguments {
    /// Where the buckets are
    #[arg(long)]
    root: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A certificate with its key, to speak TLS
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// The account's id
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    access_key: String,
    /// The account's secret
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_key: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let files = FileSystem::new(arguments.root).map_err(|error| format!("{error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(
        arguments.access_key,
        arguments.secret_key,
    ));
    let service = service.build();
    let listener = TcpListener::bind(arguments.listen).await?;
    let tls = arguments.certificate.as_deref().map(acceptor).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (service, tls) = (service.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, service).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, service).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, service: S3Service) {
    // A client that breaks off is its own business.
    let _ = Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Accepts TLS with the certificate and the key in `file`.
fn acceptor(file: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(file)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
