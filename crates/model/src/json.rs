//! Canonical JSON: the form of every value in the store, so that equal values have equal bytes.
//!
//! Keys are sorted by their bytes, there is no white space, and numbers are integers of 64 bits.

mod canonical;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a value cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A number with a fraction: values in the store are integers.
    #[error("a stored value has no fractions, but {0} has one")]
    Fraction(serde_json::Number),
    /// The type does not fit JSON.
    #[error("the value does not fit JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A value that is not what the reader expects.
#[derive(Debug, thiserror::Error)]
#[error("a stored value is not of the expected form: {0}")]
pub struct DecodeError(#[from] serde_json::Error);

/// The canonical bytes of a value. Types whose fields are in the order of their names are written fastest.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, EncodeError> {
    match canonical::write(value)? {
        Some(bytes) => Ok(bytes.into()),
        // Passing through `Value` sorts the keys: its map is a BTreeMap.
        None => Ok(serde_json::to_vec(&to_value(value)?)?.into()),
    }
}

/// A value that can be stored.
///
/// # Errors
/// See [`EncodeError`].
pub fn to_value<T: Serialize>(value: &T) -> Result<Value, EncodeError> {
    let value = serde_json::to_value(value)?;
    refuse_fractions(&value)?;
    Ok(value)
}

/// A value from its bytes.
///
/// # Errors
/// [`DecodeError`] if the bytes are not JSON of this type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    Ok(serde_json::from_slice(bytes)?)
}

fn refuse_fractions(value: &Value) -> Result<(), EncodeError> {
    match value {
        Value::Number(number) if number.is_f64() => Err(EncodeError::Fraction(number.clone())),
        Value::Array(items) => items.iter().try_for_each(refuse_fractions),
        Value::Object(fields) => fields.values().try_for_each(refuse_fractions),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_values_have_equal_bytes() {
        let one = encode(&json!({"b": 1, "a": {"d": [1, 2], "c": null}})).unwrap();
        let other = encode(&json!({"a": {"c": null, "d": [1, 2]}, "b": 1})).unwrap();
        assert_eq!(one, other);
        assert_eq!(one, Bytes::from_static(br#"{"a":{"c":null,"d":[1,2]},"b":1}"#));
    }

    #[test]
    fn fractions_are_refused() {
        assert!(matches!(encode(&json!({"a": [1.5]})), Err(EncodeError::Fraction(_))));
    }
}
