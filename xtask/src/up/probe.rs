//! Whether a program answers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// A local program answers at once, or it is not ready.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether a Redis answers there.
pub(super) fn is_redis(address: SocketAddr) -> bool {
    answers(address, "PING\r\n", "+PONG").unwrap_or(false)
}

/// Whether `GET path` is answered with 200 there.
pub(super) fn is_ok(address: SocketAddr, path: &str) -> bool {
    // In one piece: a server that answers after the first line and closes would cut off the rest.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    answers(address, &request, "HTTP/1.1 200 ").unwrap_or(false)
}

fn answers(address: SocketAddr, request: &str, expected: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer == expected.as_bytes())
}

/// An address of the loopback interface that nothing listens on.
pub(super) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.context("no free port on 127.0.0.1")
}

/// Where to reach from here what listens on `address`: `0.0.0.0` is no place to go to.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
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
    fn only_a_200_is_ready() {
        let is_ready = |answer| is_ok(answering(answer), "/readyz");
        assert!(is_ready("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!is_ready("HTTP/1.1 503 Service Unavailable\r\n\r\n"));
        assert!(!is_ready("SSH-2.0-OpenSSH_9.2\r\n"));
        assert!(!is_ok(free_address().unwrap(), "/readyz"));
    }

    #[test]
    fn every_address_has_a_loopback_one() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:9000"), "127.0.0.1:9000");
        assert_eq!(reach("[::]:9000"), "[::1]:9000");
        assert_eq!(reach("192.0.2.7:80"), "192.0.2.7:80");
    }
}
