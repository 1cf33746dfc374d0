//! The fields of a row: which place has which name, in the order in which they are written.

/// A list of fields. Places are never given to another field: what a place held stays to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    fields: Vec<(String, usize)>,
    places: usize,
}

impl Names {
    pub(super) fn of(columns: &[String]) -> Self {
        let fields = columns.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        Self { fields, places: columns.len() }
    }

    /// How many places there are, those of fields that were removed included.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Where a field is, if there is one.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, place)| *place)
    }

    /// Where a field is. One that does not exist comes behind all others.
    pub(super) fn place_or_new(&mut self, name: &str) -> usize {
        self.place(name).unwrap_or_else(|| {
            self.fields.push((name.to_owned(), self.places));
            self.places += 1;
            self.places - 1
        })
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.fields.retain(|(other, _)| other != name);
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
    }

    /// The fields with their places, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.fields.iter().map(|(name, place)| (name.as_str(), *place))
    }
}
