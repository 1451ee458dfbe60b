//! Values written straight into canonical bytes, without a tree between: serde's own writer, whose objects are put in
//! order as they end.

use super::EncodeError;
use serde::Serialize;
use serde_json::Number;
use serde_json::ser::{Formatter, Serializer};
use std::cell::RefCell;
use std::io;
use std::ops::Range;

/// Room for most documents.
const USUAL_BYTES: usize = 512;

/// The canonical bytes; `None` if the order of the keys cannot be told from the bytes: some have to be escaped, or some
/// are there twice.
pub(super) fn write<T: Serialize>(value: &T) -> Result<Option<Vec<u8>>, EncodeError> {
    let out = RefCell::new(Vec::with_capacity(USUAL_BYTES));
    let mut ordering =
        Ordering { out: &out, objects: Vec::new(), ambiguous: false, fraction: None };
    value.serialize(&mut Serializer::with_formatter(Out(&out), Lent(&mut ordering)))?;
    let Ordering { ambiguous, fraction, .. } = ordering;
    match fraction {
        Some(number) => Err(EncodeError::Fraction(number)),
        None => Ok((!ambiguous).then(|| out.into_inner())),
    }
}

/// Where the bytes go. The formatter reads and reorders them, so that both share them.
struct Out<'a>(&'a RefCell<Vec<u8>>);

impl io::Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Ordering<'a> {
    out: &'a RefCell<Vec<u8>>,
    /// The objects that are open, outermost first.
    objects: Vec<Object>,
    ambiguous: bool,
    fraction: Option<Number>,
}

/// An object that is being written.
struct Object {
    /// Where its first field begins.
    begin: usize,
    fields: Vec<Field>,
}

/// A field of an object, by where its bytes are.
struct Field {
    begin: usize,
    /// Where the key ends, with its quotes.
    key_end: usize,
    end: usize,
}

impl Field {
    fn key(&self) -> Range<usize> {
        // Without the quotes: a key that another one begins with comes first.
        self.begin + 1..self.key_end.saturating_sub(1)
    }
}

impl Ordering<'_> {
    fn position(&self) -> usize {
        self.out.borrow().len()
    }

    /// Puts the fields of the object that ends in order.
    fn close(&mut self) {
        let Some(Object { begin, mut fields }) = self.objects.pop() else { return };
        let mut out = self.out.borrow_mut();
        let is_escaped = |field: &Field| out[field.key()].contains(&b'\\');
        if fields.iter().any(is_escaped) {
            self.ambiguous = true;
            return;
        }
        let in_order = |one: &Field, other: &Field| out[one.key()] < out[other.key()];
        if fields.is_sorted_by(in_order) {
            return;
        }
        fields.sort_by(|one, other| out[one.key()].cmp(&out[other.key()]));
        if !fields.is_sorted_by(in_order) {
            self.ambiguous = true;
            return;
        }
        let mut sorted = Vec::with_capacity(out.len() - begin);
        for field in &fields {
            if !sorted.is_empty() {
                sorted.push(b',');
            }
            sorted.extend_from_slice(&out[field.begin..field.end]);
        }
        out.truncate(begin);
        out.extend_from_slice(&sorted);
    }
}

/// A formatter that outlives the serializer it is given to.
struct Lent<'a, 'b>(&'a mut Ordering<'b>);

impl Formatter for Lent<'_, '_> {
    fn write_f32<W: ?Sized + io::Write>(&mut self, _: &mut W, value: f32) -> io::Result<()> {
        self.0.fraction = self.0.fraction.take().or(Number::from_f64(value.into()));
        Ok(())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, _: &mut W, value: f64) -> io::Result<()> {
        self.0.fraction = self.0.fraction.take().or(Number::from_f64(value));
        Ok(())
    }

    fn write_i128<W: ?Sized + io::Write>(&mut self, out: &mut W, value: i128) -> io::Result<()> {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => self.write_i64(out, value),
            (_, Ok(value)) => self.write_u64(out, value),
            _ => Err(io::Error::other("number out of range")),
        }
    }

    fn write_u128<W: ?Sized + io::Write>(&mut self, out: &mut W, value: u128) -> io::Result<()> {
        let value = u64::try_from(value).map_err(|_| io::Error::other("number out of range"))?;
        self.write_u64(out, value)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b"{")?;
        self.0.objects.push(Object { begin: self.0.position(), fields: Vec::new() });
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.close();
        out.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        let begin = self.0.position();
        if let Some(object) = self.0.objects.last_mut() {
            object.fields.push(Field { begin, key_end: begin, end: begin });
        }
        Ok(())
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        let position = self.0.position();
        if let Some(field) = self.0.objects.last_mut().and_then(|object| object.fields.last_mut()) {
            field.key_end = position;
        }
        Ok(())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        let position = self.0.position();
        if let Some(field) = self.0.objects.last_mut().and_then(|object| object.fields.last_mut()) {
            field.end = position;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{encode, to_value};
    use super::write;
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::{Map, Value, json};
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Wall { width: u8, height: i64 },
        Fire(u16),
        Nothing,
    }

    #[derive(Serialize)]
    struct Disorderly {
        zebra: BTreeMap<u16, Kind>,
        ant: Option<u8>,
        ant_hill: Vec<Kind>,
        #[serde(flatten)]
        more: BTreeMap<String, u8>,
    }

    #[test]
    fn fields_out_of_order_are_put_in_order() {
        let zebra = BTreeMap::from([
            (9, Kind::Wall { width: 3, height: -7 }),
            (10, Kind::Fire(1)),
            (100, Kind::Nothing),
        ]);
        let more = BTreeMap::from([("bee".to_owned(), 1), ("aardvark".to_owned(), 2)]);
        let value = Disorderly { zebra, ant: None, ant_hill: vec![Kind::Nothing], more };
        let expected = r#"{"aardvark":2,"ant":null,"ant_hill":["nothing"],"bee":1,"zebra":{"10":{"fire":1},"100":"nothing","9":{"wall":{"height":-7,"width":3}}}}"#;
        assert_eq!(write(&value).unwrap().unwrap(), expected.as_bytes());
    }

    #[test]
    fn what_the_bytes_do_not_tell_is_left_to_the_tree() {
        let twice = Disorderly {
            zebra: BTreeMap::new(),
            ant: Some(1),
            ant_hill: Vec::new(),
            more: BTreeMap::from([("ant".to_owned(), 2)]),
        };
        assert_eq!(write(&twice).unwrap(), None);
        assert_eq!(encode(&twice).unwrap(), r#"{"ant":2,"ant_hill":[],"zebra":{}}"#.as_bytes());
        assert_eq!(write(&json!({"\n": 1, "!": 2})).unwrap(), None);
        assert_eq!(encode(&json!({"\n": 1, "!": 2})).unwrap(), r#"{"\n":1,"!":2}"#.as_bytes());
    }

    #[test]
    fn only_integers_of_64_bits_are_numbers() {
        assert!(encode(&1.5f32).is_err() && encode(&json!({"a": [1e300]})).is_err());
        assert!(encode(&i128::MAX).is_err() && encode(&u128::MAX).is_err());
        assert_eq!(encode(&i128::from(u64::MAX)).unwrap(), u64::MAX.to_string().as_bytes());
        assert_eq!(encode(&i128::from(i64::MIN)).unwrap(), i64::MIN.to_string().as_bytes());
    }

    fn some_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let fields = prop::collection::vec(("[a-c\"\\\\\n!é]{0,3}", inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                fields.prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    /// An object whose fields are written in the order in which they are listed.
    struct Listed(Vec<(String, Value)>);

    impl Serialize for Listed {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_tree(
            fields in prop::collection::vec(("[a-c\"\\\\\n!é]{0,3}", some_value()), 0..8)
        ) {
            let value = Listed(fields);
            let expected = serde_json::to_vec(&to_value(&value).unwrap()).unwrap();
            prop_assert_eq!(&encode(&value).unwrap()[..], &expected[..]);
        }
    }
}
