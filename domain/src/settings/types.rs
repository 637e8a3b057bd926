//! `INCIDENTS_TYPES`: the notation of incident types.

use super::given::{Given, Refusal};
use super::value::Value;
use crate::incident::{IdentityKind, IncidentType};

/// More types than this are a mistake.
pub(crate) const MOST_TYPES: usize = 64;

/// A list of types: mappings, or texts such as `denial:reported_by:employee`.
pub(super) fn incident_types(given: &Given<'_>) -> Result<Vec<IncidentType>, Refusal> {
    let accepted = "a list of types such as `{ type: denial, field: reported_by, identity: employee }` \
         (or `denial:reported_by:employee` in the environment); identity is one of employee, ip, employee_or_ip";
    let mut types: Vec<IncidentType> = Vec::new();
    for item in given.items(accepted)? {
        let Some(read) = incident_type_of(&item) else {
            return Err(Given(&item).refused(accepted).in_a_list());
        };
        if types.iter().any(|kind| kind.name == read.name) {
            return Err(Refusal::new("a list that has a type twice", accepted));
        }
        types.push(read);
    }
    match types.len() {
        0 => Err(Refusal::new("an empty list", accepted)),
        1..=MOST_TYPES => Ok(types),
        many => Err(Refusal::new(
            format!("a list of {many} types, where at most {MOST_TYPES} are taken"),
            accepted,
        )),
    }
}

fn incident_type_of(item: &Value) -> Option<IncidentType> {
    match item {
        Value::Text(text) => {
            let mut parts = text.split(':').map(str::trim);
            let (name, field, identity) = (parts.next()?, parts.next()?, parts.next()?);
            incident_type(name, field, identity).filter(|_| parts.next().is_none())
        }
        Value::Map(members) => {
            let member = |key: &str| {
                members.iter().find_map(|(name, value)| match value {
                    Value::Text(text) if name == key => Some(text.as_str()),
                    _ => None,
                })
            };
            (members.len() == 3)
                .then(|| incident_type(member("type")?, member("field")?, member("identity")?))?
        }
        Value::List(_) | Value::Unusable(_) => None,
    }
}

fn incident_type(name: &str, field: &str, identity: &str) -> Option<IncidentType> {
    // The report writes `type` and `priority` itself, and `timestamp` orders it.
    let field_is_free = !matches!(field, "type" | "priority" | "timestamp");
    (is_name(name) && is_name(field) && field_is_free).then_some(())?;
    Some(IncidentType {
        name: name.to_owned(),
        field: field.to_owned(),
        identity: IdentityKind::from_name(identity)?,
    })
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// A type as an environment variable has it.
pub(super) fn notation(kind: &IncidentType) -> String {
    format!("{}:{}:{}", kind.name, kind.field, kind.identity.name())
}
