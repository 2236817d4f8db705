//! A permit's scope and `when` clauses, read as tests.

use std::sync::Arc;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use serde_json::Value as Json;

use super::{Member, Path, Root, Side, Test};
use crate::domain::Value;

/// The tests of a permit; `json` is the same policy in Cedar's JSON form.
pub(super) fn test(policy: &Policy, json: &Json) -> Test {
    let mut tests = Vec::new();
    let named = |uid: EntityUid| Side::List(vec![Member::Literal(Value::Entity(uid))]);
    match policy.principal_constraint() {
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
            tests.push(Test::In(Path { root: Root::Principal, attributes: Vec::new() }, named(uid)));
        }
        PrincipalConstraint::Any | PrincipalConstraint::Eq(_) | PrincipalConstraint::Is(_) => {}
    }
    match policy.resource_constraint() {
        ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            tests.push(Test::In(Path { root: Root::Resource, attributes: Vec::new() }, named(uid)));
        }
        ResourceConstraint::Any | ResourceConstraint::Eq(_) | ResourceConstraint::Is(_) => {}
    }
    for condition in json.get("conditions").and_then(Json::as_array).into_iter().flatten() {
        if condition.get("kind").and_then(Json::as_str) == Some("when") {
            tests.push(condition.get("body").map_or(Test::Opaque, expression));
        }
    }
    Test::All(tests)
}

fn expression(json: &Json) -> Test {
    understood(json).unwrap_or(Test::Opaque)
}

/// `None`: an expression that no row can witness, or that this reader does not know.
fn understood(json: &Json) -> Option<Test> {
    let (operator, operand) = only(json)?;
    let part = |name: &str| operand.get(name);
    Some(match operator {
        "&&" => Test::All(vec![expression(part("left")?), expression(part("right")?)]),
        "||" => Test::Any(vec![expression(part("left")?), expression(part("right")?)]),
        "!" => Test::Not(Box::new(expression(part("arg")?))),
        "if-then-else" => {
            let condition = expression(part("if")?);
            let otherwise = Test::Not(Box::new(condition.clone()));
            Test::Any(vec![
                Test::All(vec![condition, expression(part("then")?)]),
                Test::All(vec![otherwise, expression(part("else")?)]),
            ])
        }
        "contains" => match side(part("left")?)? {
            Side::Path(set) => Test::Contains(set, member(part("right")?)?),
            Side::List(members) => {
                let wanted = member(part("right")?)?;
                Test::Any(members.into_iter().map(|one| Test::Equal(one, wanted.clone())).collect())
            }
        },
        "containsAny" => Test::ContainsAny(side(part("left")?)?, side(part("right")?)?),
        "containsAll" => Test::ContainsAll(side(part("left")?)?, side(part("right")?)?),
        "in" => Test::In(path(part("left")?)?, entities(part("right")?)?),
        "==" => Test::Equal(member(part("left")?)?, member(part("right")?)?),
        "!=" => Test::Not(Box::new(Test::Equal(member(part("left")?)?, member(part("right")?)?))),
        "has" => Test::Has(has(operand)?),
        "Value" => Test::Known(operand.as_bool()?),
        "." => Test::Flag(path(json)?),
        _ => return None,
    })
}

/// The operator and the operand of an expression.
fn only(json: &Json) -> Option<(&str, &Json)> {
    let object = json.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(operator, operand)| (operator.as_str(), operand))
}

fn path(json: &Json) -> Option<Path> {
    let (operator, operand) = only(json)?;
    match operator {
        "Var" => {
            let root = match operand.as_str()? {
                "principal" => Root::Principal,
                "resource" => Root::Resource,
                "context" => Root::Context,
                _ => return None,
            };
            Some(Path { root, attributes: Vec::new() })
        }
        "." => {
            let mut path = path(operand.get("left")?)?;
            path.attributes.push(operand.get("attr")?.as_str()?.into());
            Some(path)
        }
        _ => None,
    }
}

fn has(operand: &Json) -> Option<Path> {
    let mut path = path(operand.get("left")?)?;
    if path.root == Root::Context {
        // The context is known by its leaves: a record of it may be there without any.
        return None;
    }
    match operand.get("attr")? {
        Json::String(one) => path.attributes.push(one.as_str().into()),
        Json::Array(many) => {
            for one in many {
                path.attributes.push(one.as_str()?.into());
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => return None,
    }
    Some(path)
}

fn member(json: &Json) -> Option<Member> {
    let (operator, operand) = only(json)?;
    match operator {
        "Value" => literal(operand).map(Member::Literal),
        "Record" => {
            let fields =
                operand.as_object()?.iter().map(|(name, field)| Some((Arc::from(name.as_str()), member(field)?)));
            Some(Member::Record(fields.collect::<Option<_>>()?))
        }
        _ => path(json).map(Member::Path),
    }
}

/// A set: a path, or a list of members.
fn side(json: &Json) -> Option<Side> {
    let (operator, operand) = only(json)?;
    match operator {
        "Set" => operand.as_array()?.iter().map(member).collect::<Option<_>>().map(Side::List),
        "Value" => match literal(operand)? {
            Value::Set(members) => Some(Side::List(members.into_iter().map(Member::Literal).collect())),
            Value::Bool(_) | Value::Long(_) | Value::Text(_) | Value::Entity(_) | Value::Record(_) => None,
        },
        _ => path(json).map(Side::Path),
    }
}

/// The right side of `in`: one entity or a set of them.
fn entities(json: &Json) -> Option<Side> {
    side(json).or_else(|| match member(json)? {
        one @ Member::Literal(Value::Entity(_)) => Some(Side::List(vec![one])),
        Member::Path(_) | Member::Literal(_) | Member::Record(_) => None,
    })
}

fn literal(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => Value::Long(value.as_i64()?),
        Json::String(text) => Value::Text(text.as_str().into()),
        Json::Array(items) => {
            let mut members: Vec<_> = items.iter().map(literal).collect::<Option<_>>()?;
            members.sort();
            members.dedup();
            Value::Set(members)
        }
        Json::Object(fields) => match fields.get("__entity") {
            Some(entity) => {
                let kind: EntityTypeName = entity.get("type")?.as_str()?.parse().ok()?;
                let id = EntityId::new(entity.get("id")?.as_str()?);
                Value::Entity(EntityUid::from_type_name_and_id(kind, id))
            }
            None if fields.contains_key("__extn") => return None,
            None => {
                let fields = fields.iter().map(|(name, field)| Some((Arc::from(name.as_str()), literal(field)?)));
                Value::Record(fields.collect::<Option<_>>()?)
            }
        },
        Json::Null => return None,
    })
}
