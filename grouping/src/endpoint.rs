//! The endpoints that upstream has: the identity map, and one for each incident type.

/// One `T` for each of upstream's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerEndpoint<T> {
    /// Of the identity map.
    pub identities: T,
    /// Of each incident type, in the configured order.
    pub incidents: Vec<T>,
}

impl<T> PerEndpoint<T> {
    /// The identity map's, then the types' in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.identities).chain(&self.incidents)
    }

    /// As [`Self::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.identities).chain(&mut self.incidents)
    }

    /// References to all.
    #[must_use]
    pub fn as_ref(&self) -> PerEndpoint<&T> {
        PerEndpoint {
            identities: &self.identities,
            incidents: self.incidents.iter().collect(),
        }
    }

    /// What `change` makes of each.
    #[must_use]
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> PerEndpoint<U> {
        PerEndpoint {
            identities: change(self.identities),
            incidents: self.incidents.into_iter().map(change).collect(),
        }
    }

    /// What `change` makes of each.
    ///
    /// # Errors
    /// The first of `change`.
    pub fn try_map<U, E>(
        self,
        mut change: impl FnMut(T) -> Result<U, E>,
    ) -> Result<PerEndpoint<U>, E> {
        Ok(PerEndpoint {
            identities: change(self.identities)?,
            incidents: self
                .incidents
                .into_iter()
                .map(change)
                .collect::<Result<_, E>>()?,
        })
    }

    /// Each with the other's of the same endpoint.
    #[must_use]
    pub fn zip<U>(self, other: PerEndpoint<U>) -> PerEndpoint<(T, U)> {
        PerEndpoint {
            identities: (self.identities, other.identities),
            incidents: self.incidents.into_iter().zip(other.incidents).collect(),
        }
    }
}

impl<T> IntoIterator for PerEndpoint<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::iter::Once<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.identities).chain(self.incidents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> PerEndpoint<u32> {
        PerEndpoint {
            identities: 1,
            incidents: vec![2, 3],
        }
    }

    #[test]
    fn the_identity_map_comes_first() {
        let mut all = endpoints();
        all.iter_mut().for_each(|one| *one *= 10);
        assert_eq!(all.iter().copied().collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!(all.as_ref().into_iter().count(), 3);
        let pairs = endpoints().zip(all).map(|(one, ten)| one + ten);
        assert_eq!(pairs.into_iter().collect::<Vec<_>>(), [11, 22, 33]);
    }

    #[test]
    fn the_first_error_is_told() {
        let odd = |one: u32| if one % 2 == 1 { Ok(one) } else { Err(one) };
        assert_eq!(endpoints().try_map(odd), Err(2));
        assert_eq!(endpoints().try_map(Ok::<_, ()>), Ok(endpoints()));
    }
}
