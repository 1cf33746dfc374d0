//! How a row of a query becomes a struct, without a procedural macro.
//!
//! The library's own derive compiles both database drivers, including SQLite's C code, a second time for the build
//! host.

/// Declares a struct that is read from a row of a query, each field from the column of the same name.
///
/// Works for both databases, as long as each field's type can be decoded there: `sqlx::query_as` takes the struct.
#[macro_export]
macro_rules! row {
    (
        $(#[$outer:meta])*
        $visible:vis struct $name:ident {
            $($(#[$inner:meta])* $field_visible:vis $field:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[$outer])*
        $visible struct $name {
            $($(#[$inner])* $field_visible $field: $type),*
        }

        impl<'r, AnyRow> ::sqlx::FromRow<'r, AnyRow> for $name
        where
            AnyRow: ::sqlx::Row,
            &'static str: ::sqlx::ColumnIndex<AnyRow>,
            $($type: ::sqlx::Decode<'r, AnyRow::Database> + ::sqlx::Type<AnyRow::Database>,)*
        {
            fn from_row(row: &'r AnyRow) -> ::sqlx::Result<Self> {
                ::std::result::Result::Ok(Self { $($field: row.try_get(::std::stringify!($field))?),* })
            }
        }
    };
}
