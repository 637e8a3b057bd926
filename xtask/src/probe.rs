//! Whether the service answers: the smallest HTTP client there is.

use std::io::{Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A local service answers at once, or it is not ready.
const LIMIT: Duration = Duration::from_secs(2);

/// The status with which `GET path` is answered there.
///
/// # Errors
/// Nothing listens, or what answers is not HTTP.
pub(crate) fn status(address: SocketAddr, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // In one piece: a server that answers after the first line and closes would cut off the rest.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // "HTTP/1.1 200"
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    std::str::from_utf8(&line)
        .ok()
        .and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok())
        .ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

/// Where to reach from here what listens on `address`: `0.0.0.0` is no place to go to.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn the_status_is_read() {
        let address = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(status(address, "/readyz").unwrap(), 503);
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(status(answering("SSH-2.0-OpenSSH_9.2\r\n"), "/readyz").is_err());
    }

    #[test]
    fn every_address_has_a_loopback_one() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:9000"), "127.0.0.1:9000");
        assert_eq!(reach("[::]:9000"), "[::1]:9000");
        assert_eq!(reach("192.0.2.7:80"), "192.0.2.7:80");
    }
}
