//! What a snapshot consists of, and in which codings.

/// A body is stored in blocks of at most this many bytes.
pub const BLOCK_BYTES: usize = 1 << 20;

/// A coding of a body, in the order in which the service prefers them when a client does not mind
/// (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Zstandard (RFC 8878)
    Zstd,
    /// Brotli (RFC 7932)
    Brotli,
    /// gzip (RFC 1952)
    Gzip,
    /// As it is
    Identity,
}

impl Encoding {
    /// Every coding, the preferred first.
    pub const ALL: [Self; 4] = [Self::Zstd, Self::Brotli, Self::Gzip, Self::Identity];

    /// The content-coding's registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }
}

/// What a snapshot consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Document {
    /// The report, in every encoding.
    Report,
    /// The rows that no employee could be found for, by type.
    Unattributed,
    /// The rows that could not be used, by type, each with the reason.
    Rejected,
    /// The numbers of the snapshot, in every encoding.
    Summary,
}

impl Document {
    /// Every document.
    pub const ALL: [Self; 4] = [
        Self::Report,
        Self::Unattributed,
        Self::Rejected,
        Self::Summary,
    ];

    /// The name within keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Unattributed => "unattributed",
            Self::Rejected => "rejected",
            Self::Summary => "summary",
        }
    }
}
