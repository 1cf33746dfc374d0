//! What a program shares with its handlers: one value of each type.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use apalis_core::task::extensions::Extensions;

type IntoData = Arc<dyn Fn(&mut Extensions) + Send + Sync>;

/// Shared values, found by their type. Clones share them.
#[derive(Clone, Default)]
pub struct States {
    by_type: Arc<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    /// Each puts one value where apalis' extractor finds it. Apalis' own map cannot be iterated.
    into_data: Vec<IntoData>,
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states", self.by_type.len())
    }
}

impl States {
    /// Shares a value: [`States::get`] finds it as `T`, and apalis' extractor as `Data<T>`.
    pub fn insert<T: Clone + Send + Sync + 'static>(&mut self, state: T) {
        self.provide(state.clone());
        self.insert_shared(Arc::new(state));
    }

    /// Shares a value that cannot be cloned: apalis' extractor finds it as `Data<Arc<T>>`.
    pub fn insert_shared<T: Send + Sync + 'static>(&mut self, state: Arc<T>) {
        self.provide(Arc::clone(&state));
        Arc::make_mut(&mut self.by_type).insert(TypeId::of::<T>(), state);
    }

    fn provide<T: Clone + Send + Sync + 'static>(&mut self, state: T) {
        self.into_data.push(Arc::new(move |data| {
            data.insert(state.clone());
        }));
    }

    /// The value of that type, if the program shares one.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.by_type.get(&TypeId::of::<T>()).cloned().and_then(|state| state.downcast().ok())
    }

    /// Puts a clone of every value where apalis' extractor finds it. The last value of a type counts.
    pub fn extend(&self, data: &mut Extensions) {
        self.into_data.iter().for_each(|into| into(data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_type_and_as_data_of_apalis() {
        let mut states = States::default();
        states.insert("greeting".to_owned());
        states.insert_shared(Arc::new(7_u32));
        assert_eq!(states.get::<String>().as_deref().map(String::as_str), Some("greeting"));
        let mut data = Extensions::new();
        states.extend(&mut data);
        assert_eq!(data.get::<String>().map(String::as_str), Some("greeting"));
        assert_eq!((states.get::<u32>().as_deref(), states.get::<u64>()), (Some(&7), None));
        assert_eq!(data.get::<Arc<u32>>().map(|state| **state), Some(7));
    }
}
