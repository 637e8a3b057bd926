//! The dashboard: a page and its files, which are in the component as `build.rs` has made them.

use domain::contract::document::Encoding;
use domain::contract::record::Bodies;
use http::request::Parts;
use http::{Method, StatusCode};

use super::VARY;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::{conditional, negotiate};

/// The page's name among the files; its address is `/`.
const PAGE: &str = "index.html";

/// What the page may do: load what is here, and no more. Nothing that it is given becomes markup or script,
/// whatever a fault in it would make of that.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// What of a browser it may use: nothing.
const PERMISSIONS: &str = "accelerometer=(), camera=(), clipboard-read=(), display-capture=(), \
    fullscreen=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), \
    usb=()";

/// The page is asked for anew each time.
const ASK_AGAIN: &str = "private, no-cache";

/// A file in the folder of this version never changes.
const FOR_GOOD: &str = "private, max-age=31536000, immutable";

/// A file of another version than was asked for, as while servers are replaced: the best that there is, but
/// not to be kept under that address.
const FOR_NOW: &str = "no-store";

include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// A file of the dashboard.
struct File {
    name: &'static str,
    media_type: &'static str,
    /// Tells its contents from others.
    tag: &'static str,
    identity: &'static [u8],
    gzip: &'static [u8],
    br: &'static [u8],
}

impl File {
    fn bytes(&self, encoding: Encoding) -> &'static [u8] {
        match encoding {
            Encoding::Gzip => self.gzip,
            Encoding::Brotli => self.br,
            Encoding::Identity | Encoding::Zstd => self.identity,
        }
    }

    /// The forms that were made.
    fn bodies(&self) -> Bodies {
        let mut bodies = Bodies::default();
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Brotli] {
            bodies.set(encoding, self.bytes(encoding).len() as u64);
        }
        bodies
    }

    /// The strong entity tag.
    fn etag(&self, encoding: Encoding) -> String {
        match encoding {
            Encoding::Identity => format!("\"{}\"", self.tag),
            coding => format!("\"{}-{}\"", self.tag, coding.name()),
        }
    }
}

/// Answers with the page, or with the file at `path`: its version and its name.
///
/// # Errors
/// 404 for a file that there is not; 406 when no coding suits the client.
pub(crate) fn respond(request: &Parts, path: Option<&str>) -> Result<Reply, Problem> {
    let (file, kept) = find(path)?;
    let encoding = negotiate::encoding(&request.headers, &file.bodies())?;
    let etag = file.etag(encoding);
    if conditional::takes_any(&request.headers) || conditional::lists(&request.headers, &etag) {
        return Ok(head(304, &etag, kept));
    }
    let mut reply = head(200, &etag, kept);
    if encoding != Encoding::Identity {
        reply = reply.with("content-encoding", encoding.name());
    }
    let bytes = file.bytes(encoding);
    Ok(match request.method == Method::HEAD {
        true => reply.describing(file.media_type, bytes.len() as u64),
        false => reply.containing(file.media_type, bytes.to_vec()),
    })
}

/// The file, and for how long it may be kept.
fn find(path: Option<&str>) -> Result<(&'static File, &'static str), Problem> {
    let (name, kept) = match path.map(|path| path.split_once('/')) {
        None => (PAGE, ASK_AGAIN),
        Some(Some((VERSION, name))) => (name, FOR_GOOD),
        Some(Some((_, name))) => (name, FOR_NOW),
        Some(None) => return Err(no_file()),
    };
    // The page has one address, from which its links begin.
    let is_meant = |file: &&File| file.name == name && (path.is_none() || name != PAGE);
    let file = FILES.iter().find(is_meant).ok_or_else(no_file)?;
    Ok((file, kept))
}

fn no_file() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "The dashboard has no such file. It is at /, and names its files itself.",
    )
}

/// The head that 200 and 304 have in common.
fn head(status: u16, etag: &str, kept: &str) -> Reply {
    Reply::new(status)
        .with("etag", etag)
        .with("cache-control", kept)
        .with("vary", VARY)
        .with("content-security-policy", POLICY)
        .with("permissions-policy", PERMISSIONS)
        .with("referrer-policy", "no-referrer")
        .with("cross-origin-opener-policy", "same-origin")
        .with("cross-origin-resource-policy", "same-origin")
        .with("x-frame-options", "DENY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Body;
    use http::Request;

    fn ask(path: Option<&str>, fields: &[(&str, &str)]) -> Result<Reply, Problem> {
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        respond(&request.body(()).unwrap().into_parts().0, path)
    }

    fn text(reply: &Reply) -> String {
        match &reply.body {
            Body::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => panic!("no whole body"),
        }
    }

    /// What stands in quotes behind `attribute`.
    fn quoted<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
        let opening = format!("{attribute}=\"");
        let parts = page.split(&opening).skip(1);
        parts.filter_map(|part| part.split('"').next()).collect()
    }

    #[test]
    fn every_file_that_the_page_names_is_there_and_may_be_kept() {
        let page = text(&ask(None, &[]).ok().unwrap());
        let mut named = quoted(&page, "src");
        named.extend(quoted(&page, "href"));
        named.retain(|name| name.starts_with("dashboard/"));
        // All but the page itself, as modules are named beforehand.
        assert_eq!(named.len(), FILES.len() - 1, "{named:?}");
        for name in named {
            let path = name.strip_prefix("dashboard/").unwrap();
            let reply = ask(Some(path), &[]).ok().unwrap();
            assert_eq!(reply.value("cache-control"), FOR_GOOD, "{name}");
        }
    }

    #[test]
    fn every_module_that_one_imports_is_there() {
        for file in FILES.iter().filter(|file| file.name.ends_with(".js")) {
            let source = str::from_utf8(file.identity).unwrap();
            for line in source.lines().filter(|line| line.contains(" from \"")) {
                let name = line.split('"').nth(1).unwrap().strip_prefix("./").unwrap();
                assert!(FILES.iter().any(|other| other.name == name), "{line}");
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for file in FILES {
            let source = str::from_utf8(file.identity).unwrap();
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
            ] {
                assert!(!source.contains(forbidden), "{}: {forbidden}", file.name);
            }
            let elsewhere = source.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !elsewhere.contains("//") || file.name.ends_with(".js"),
                "{}",
                file.name
            );
            assert!(
                !elsewhere.contains("http:") && !elsewhere.contains("https:"),
                "{}",
                file.name
            );
        }
        let page = text(&ask(None, &[]).ok().unwrap());
        for inline in [
            "<style",
            " style=",
            " onclick",
            "<script>",
            "javascript:",
            "shutdown",
        ] {
            assert!(!page.contains(inline), "{inline}");
        }
    }

    #[test]
    fn a_coding_has_a_tag_of_its_own() {
        let plain = ask(None, &[]).ok().unwrap();
        let small = ask(None, &[("accept-encoding", "gzip, br")]).ok().unwrap();
        assert_eq!(small.value("content-encoding"), "br");
        assert_ne!(plain.value("etag"), small.value("etag"));
        let etag = small.value("etag");
        let again = ask(
            None,
            &[("accept-encoding", "gzip, br"), ("if-none-match", etag)],
        );
        let again = again.ok().unwrap();
        assert_eq!((again.status, again.value("etag")), (304, etag));
        assert_eq!(
            ask(None, &[("if-none-match", etag)]).ok().unwrap().status,
            200
        );
        assert!(ask(None, &[("accept-encoding", "identity;q=0")]).is_err());
    }

    #[test]
    fn a_file_of_another_version_is_not_kept_and_what_is_none_is_not_found() {
        let other = ask(Some("0123/app.js"), &[]).ok().unwrap();
        assert_eq!((other.status, other.value("cache-control")), (200, FOR_NOW));
        for path in [
            "",
            "app.js",
            "0123/",
            "0123/none.js",
            "0123/index.html",
            "0123/x/app.js",
            "/app.js/",
        ] {
            assert_eq!(ask(Some(path), &[]).err().unwrap().status, 404, "{path}");
        }
    }

    #[test]
    fn all_of_it_is_small() {
        let bytes: usize = FILES.iter().map(|file| file.br.len()).sum();
        assert!(bytes < 60 << 10, "{bytes} bytes");
        for file in FILES {
            assert!(file.br.len() < file.identity.len(), "{}", file.name);
            assert!(file.gzip.len() < file.identity.len(), "{}", file.name);
        }
    }
}
