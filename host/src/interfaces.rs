//! The bindings of the two Spin interfaces, and `spin:variables`.

use std::sync::Arc;

use wasmtime::component::{Accessor, HasData};

use crate::{
    interfaces::spin::variables::variables::{Error, Host, HostWithStore},
    variables::{self, Values},
};

wasmtime::component::bindgen!({
    path: "wit",
    world: "spin",
    with: {
        "spin:redis/redis.connection": ::redis::aio::MultiplexedConnection,
    },
});

/// Marks `spin:variables`, whose data are the component's variables.
pub(crate) struct Variables;

impl HasData for Variables {
    type Data<'a> = &'a mut Arc<Values>;
}

impl Host for &mut Arc<Values> {}

impl<T: Send> HostWithStore<T> for Variables {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, Error> {
        variables::check_name(&name).map_err(|error| Error::InvalidName(error.to_string()))?;
        let values = accessor.with(|mut access| Arc::clone(access.get()));
        values
            .get(&name)
            .cloned()
            .ok_or_else(|| Error::Undefined(format!("the component has no variable {name:?}")))
    }
}
