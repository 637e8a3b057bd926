//! One request and its answer, for what is compared and not measured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its entity tag, as it stands.
    pub(crate) etag: String,
    coding: String,
    content: Vec<u8>,
}

impl Answer {
    /// The content without its coding.
    pub(crate) fn decoded(&self) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        match self.coding.as_str() {
            "" => return Ok(self.content.clone()),
            "gzip" => GzDecoder::new(&self.content[..]).read_to_end(&mut plain)?,
            "zstd" => zstd::Decoder::new(&self.content[..])?.read_to_end(&mut plain)?,
            other => bail!("it is in the coding `{other}`"),
        };
        Ok(plain)
    }
}

/// `GET`s a path of a server on this machine.
pub(crate) fn get(port: u16, path: &str, fields: &[(&str, &str)]) -> Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.context("the head has no end")?;
    let head = std::str::from_utf8(&answer[..end]).context("the head is no text")?;
    let content = &answer[end + 4..];
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("`{line}` has no status"))?;
    let field = |wanted: &str| {
        let mut fields = fields.lines().filter_map(|field| field.split_once(':'));
        let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map_or("", |(_, value)| value.trim())
    };
    let content = match field("transfer-encoding") {
        "chunked" => joined(content)?,
        _ => {
            let length: usize = match status {
                304 => 0,
                _ => field("content-length")
                    .parse()
                    .context("it tells no length")?,
            };
            let came = content.len();
            ensure!(length == came, "{came} of {length} bytes came");
            content.to_vec()
        }
    };
    Ok(Answer {
        status,
        etag: field("etag").to_owned(),
        coding: field("content-encoding").to_owned(),
        content,
    })
}

/// The content that comes in chunks (RFC 9112, section 7.1).
fn joined(mut chunks: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::with_capacity(chunks.len());
    loop {
        let end = chunks.windows(2).position(|window| window == b"\r\n");
        let (size, rest) = chunks.split_at(end.context("it is broken off")?);
        let size = usize::from_str_radix(std::str::from_utf8(size)?, 16)?;
        if size == 0 {
            return Ok(content);
        }
        let chunk = rest.get(2..2 + size).context("it is broken off")?;
        content.extend_from_slice(chunk);
        chunks = rest.get(2 + size + 2..).context("it is broken off")?;
    }
}
