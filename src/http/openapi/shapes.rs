//! Words for schemas: what a member holds, within which limits, and whether it must be there.

use utoipa::openapi::{
    ArrayBuilder, KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
    schema::{AdditionalProperties, SchemaType},
};

/// A schema or the name of one.
pub(super) type Shape = RefOr<Schema>;

/// A member of an object.
pub(super) struct Member {
    name: &'static str,
    shape: Shape,
    is_needed: bool,
}

pub(super) fn need(name: &'static str, shape: impl Into<Shape>) -> Member {
    Member { name, shape: shape.into(), is_needed: true }
}

pub(super) fn may(name: &'static str, shape: impl Into<Shape>) -> Member {
    Member { name, shape: shape.into(), is_needed: false }
}

/// An object that may hold more than these.
pub(super) fn open(members: impl IntoIterator<Item = Member>) -> Shape {
    object(members).into()
}

/// An object with these members and no others: a misspelt word is refused.
pub(super) fn closed(members: impl IntoIterator<Item = Member>) -> Shape {
    object(members).additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))).into()
}

fn object(members: impl IntoIterator<Item = Member>) -> ObjectBuilder {
    let mut object = ObjectBuilder::new().schema_type(Type::Object);
    for Member { name, shape, is_needed } in members {
        object = object.property(name, shape);
        if is_needed {
            object = object.required(name);
        }
    }
    object
}

/// An object whose values are all of one shape.
pub(super) fn map(of: Shape) -> Shape {
    ObjectBuilder::new().schema_type(Type::Object).additional_properties(Some(AdditionalProperties::RefOr(of))).into()
}

/// Anything at all.
pub(super) fn whatever() -> Shape {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).into()
}

/// An object that may hold anything.
pub(super) fn anything() -> Shape {
    ObjectBuilder::new().schema_type(Type::Object).into()
}

/// A text of the program, of any length.
pub(super) fn text() -> Shape {
    ObjectBuilder::new().schema_type(Type::String).into()
}

/// An id or a word; the limit counts bytes, and a character has at least one.
pub(super) fn word() -> Shape {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(256)).into()
}

/// The same, where an empty one says something too.
pub(super) fn name() -> Shape {
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(256)).into()
}

/// A filter of a query.
pub(super) fn filter(bytes_max: usize) -> Shape {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(bytes_max)).into()
}

/// What a person writes.
pub(super) fn prose(chars_max: usize) -> Shape {
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(chars_max)).into()
}

pub(super) fn one_of(words: impl IntoIterator<Item = &'static str>) -> Shape {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
}

pub(super) fn flag() -> Shape {
    ObjectBuilder::new().schema_type(Type::Boolean).into()
}

pub(super) fn count() -> Shape {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).into()
}

pub(super) fn from_to(least: i32, most: i32) -> Shape {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(Some(most)).into()
}

pub(super) fn seconds() -> Shape {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).into()
}

pub(super) fn instant() -> Shape {
    formatted(KnownFormat::DateTime, Type::String.into())
}

/// An instant that may be null: open-ended, or not yet.
pub(super) fn instant_or_null() -> Shape {
    formatted(KnownFormat::DateTime, SchemaType::Array(vec![Type::String, Type::Null]))
}

pub(super) fn date() -> Shape {
    formatted(KnownFormat::Date, Type::String.into())
}

fn formatted(format: KnownFormat, kind: SchemaType) -> Shape {
    ObjectBuilder::new().schema_type(kind).format(Some(SchemaFormat::KnownFormat(format))).into()
}

pub(super) fn list(of: Shape) -> Shape {
    ArrayBuilder::new().items(of).into()
}

/// A list with one item at least.
pub(super) fn some(of: Shape, items_max: usize) -> Shape {
    ArrayBuilder::new().items(of).min_items(Some(1)).max_items(Some(items_max)).into()
}

pub(super) fn at_most(of: Shape, items_max: usize) -> Shape {
    ArrayBuilder::new().items(of).max_items(Some(items_max)).into()
}

/// A schema of the document, by its name.
pub(super) fn named(name: &str) -> Shape {
    Ref::from_schema_name(name).into()
}
