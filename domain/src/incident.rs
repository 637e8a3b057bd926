//! The words of the domain: priorities, incident types and the identities that incidents carry.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How urgent an incident is. The order of the variants is the order of the report's groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The least urgent.
    Low,
    /// More urgent than most.
    Medium,
    /// To be looked at soon.
    High,
    /// To be looked at now.
    Critical,
}

impl Priority {
    /// Every priority, in the report's order.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word that upstream and the report use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The priority that `word` names exactly; case counts, as in JSON.
    #[must_use]
    pub fn from_name(word: &[u8]) -> Option<Self> {
        match word {
            b"low" => Some(Self::Low),
            b"medium" => Some(Self::Medium),
            b"high" => Some(Self::High),
            b"critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the identity field of an incident type holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// An employee id.
    Employee,
    /// The IP address of a machine, to be looked up in the identity map.
    Ip,
    /// Either of the two.
    EmployeeOrIp,
}

impl IdentityKind {
    /// The word that the configuration uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Employee => "employee",
            Self::Ip => "ip",
            Self::EmployeeOrIp => "employee_or_ip",
        }
    }

    /// The kind that `word` names.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        [Self::Employee, Self::Ip, Self::EmployeeOrIp]
            .into_iter()
            .find(|kind| kind.name() == word)
    }

    /// Whether the field may hold an employee id.
    #[must_use]
    pub const fn allows_employee(self) -> bool {
        matches!(self, Self::Employee | Self::EmployeeOrIp)
    }

    /// Whether the field may hold an IP address.
    #[must_use]
    pub const fn allows_ip(self) -> bool {
        matches!(self, Self::Ip | Self::EmployeeOrIp)
    }
}

/// A kind of incident that upstream reports: its name (also its path upstream) and where a row of
/// it says whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentType {
    /// For example `denial`; the last segment of `incidents/<name>` upstream.
    pub name: String,
    /// The member of a row that identifies the employee, for example `reported_by`.
    pub field: String,
    /// What that member holds.
    pub identity: IdentityKind,
}

impl IncidentType {
    fn new(name: &str, field: &str, identity: IdentityKind) -> Self {
        Self {
            name: name.to_owned(),
            field: field.to_owned(),
            identity,
        }
    }

    /// The seven types that upstream has today, in the order in which ties are broken.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        use IdentityKind::{Employee, EmployeeOrIp, Ip};
        vec![
            Self::new("denial", "reported_by", Employee),
            Self::new("intrusion", "internal_ip", Ip),
            Self::new("executable", "machine_ip", Ip),
            Self::new("misuse", "employee_id", Employee),
            Self::new("unauthorized", "employee_id", Employee),
            Self::new("probing", "ip", Ip),
            Self::new("other", "identifier", EmployeeOrIp),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_one_priority_and_nothing_else_does() {
        for priority in Priority::ALL {
            assert_eq!(
                Priority::from_name(priority.name().as_bytes()),
                Some(priority)
            );
            assert_eq!(priority.to_string(), priority.name());
        }
        for word in ["", "Low", "HIGH", "low ", "urgent"] {
            assert_eq!(Priority::from_name(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn a_kind_of_identity_allows_what_its_name_says() {
        use IdentityKind::{Employee, EmployeeOrIp, Ip};
        for (name, kind, employee, ip) in [
            ("employee", Employee, true, false),
            ("ip", Ip, false, true),
            ("employee_or_ip", EmployeeOrIp, true, true),
        ] {
            assert_eq!(IdentityKind::from_name(name), Some(kind));
            assert_eq!(
                (kind.allows_employee(), kind.allows_ip()),
                (employee, ip),
                "{name}"
            );
        }
        assert_eq!(IdentityKind::from_name("IP"), None);
    }
}
