//! The options that a connector is opened with.

use std::fmt;

use crate::{
    error::{Error, ErrorKind, Result},
    factory::OptionInfo,
};

/// Named options, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    options: Vec<(String, Value)>,
}

impl Config {
    /// No options.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            options: Vec::new(),
        }
    }

    /// Adds an option, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds an option, in place of one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.options.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.options.push((name, value)),
        }
    }

    /// The value of an option, if there is one.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        let found = self.options.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    /// All options, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let options = self.options.iter();
        options.map(|(name, value)| (name.as_str(), value))
    }

    /// The number of options.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.options.len()
    }

    /// Whether there are no options.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.options.is_empty()
    }

    /// Reads the options of the connector `kind`, which takes those that `known` describes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] if there is an option that is not described.
    pub fn read(
        &self,
        kind: &'static str,
        known: &'static [OptionInfo],
    ) -> Result<ConfigReader<'_>> {
        let reader = ConfigReader {
            config: self,
            kind,
            known,
        };
        let mut names = self.iter().map(|(name, _)| name);
        match names.find(|name| known.iter().all(|info| info.name != *name)) {
            Some(name) => Err(reader.unknown(name)),
            None => Ok(reader),
        }
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Config {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(options: I) -> Self {
        let mut config = Self::new();
        for (name, value) in options {
            config.insert(name, value);
        }
        config
    }
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A number with a fraction.
    Float(f64),
    /// A whole number.
    Integer(i64),
    /// Values in order.
    List(Vec<Value>),
    /// Named values.
    Map(Config),
    /// Nothing, which is the same as leaving the option out.
    Null,
    /// A text.
    Text(String),
}

impl Value {
    /// What the value is, as error messages name it.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a bool",
            Self::Float(_) => "a float",
            Self::Integer(_) => "an int",
            Self::List(_) => "a list",
            Self::Map(_) => "a dict",
            Self::Null => "None",
            Self::Text(_) => "a str",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => formatter.write_str("True"),
            Self::Bool(false) => formatter.write_str("False"),
            Self::Float(number) => write!(formatter, "{number:?}"),
            Self::Integer(number) => number.fmt(formatter),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                write!(formatter, "[{}]", values.join(", "))
            }
            Self::Map(config) => {
                let pairs = config.iter();
                let pairs: Vec<_> = pairs
                    .map(|(name, value)| format!("'{}': {value}", name.escape_debug()))
                    .collect();
                write!(formatter, "{{{}}}", pairs.join(", "))
            }
            Self::Null => formatter.write_str("None"),
            Self::Text(text) => write!(formatter, "'{}'", text.escape_debug()),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Self {
        Self::List(values)
    }
}

impl From<Config> for Value {
    fn from(config: Config) -> Self {
        Self::Map(config)
    }
}

/// Reads options as the types that they must have; made by [`Config::read`].
#[derive(Clone, Copy, Debug)]
pub struct ConfigReader<'a> {
    config: &'a Config,
    kind: &'static str,
    known: &'static [OptionInfo],
}

impl ConfigReader<'_> {
    /// The value of an option that must be there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] if it is absent or of another type.
    pub fn required<T: OptionValue>(&self, name: &'static str) -> Result<T> {
        match self.optional(name)? {
            Some(value) => Ok(value),
            None => Err(self.invalid(name, "is required")),
        }
    }

    /// The value of an option, if it is there and not null.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] if it is of another type.
    pub fn optional<T: OptionValue>(&self, name: &'static str) -> Result<Option<T>> {
        match self.config.value(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match T::from_value(value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.invalid(name, &format!("is {value}, {}", value.type_name()))),
            },
        }
    }

    /// The error for an option whose value is of the right type and wrong all the same; `problem`
    /// continues the sentence 'the option ...'.
    #[must_use]
    pub fn invalid(&self, name: &'static str, problem: &str) -> Error {
        let info = self.known.iter().find(|info| info.name == name);
        let expected = info.map_or(String::new(), |info| {
            format!("; expected {}: {}", info.expects, info.summary)
        });
        let message = format!(
            "the option '{name}' of the {} connector {problem}{expected}",
            self.kind
        );
        Error::new(ErrorKind::InvalidConfig, message).with_context("option", name)
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<_> = self.known.iter().map(|info| info.name).collect();
        let known = if known.is_empty() {
            "it takes none".to_owned()
        } else {
            format!("it takes: {}", known.join(", "))
        };
        let message = format!(
            "the {} connector has no option '{}'; {known}",
            self.kind,
            name.escape_debug()
        );
        Error::new(ErrorKind::InvalidConfig, message).with_context("option", name)
    }
}

/// A type that options can have.
pub trait OptionValue: Sized {
    /// The value as this type, if it is one.
    fn from_value(value: &Value) -> Option<Self>;
}

impl OptionValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

impl OptionValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }
}

impl OptionValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Float(value) => Some(*value),
            #[expect(clippy::cast_precision_loss, reason = "options are small numbers")]
            Value::Integer(value) => Some(*value as Self),
            _ => None,
        }
    }
}

impl OptionValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(value) => Some(value.clone()),
            _ => None,
        }
    }
}

impl OptionValue for Config {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Map(value) => Some(value.clone()),
            _ => None,
        }
    }
}

impl<T: OptionValue> OptionValue for Vec<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::List(values) => values.iter().map(T::from_value).collect(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    static KNOWN: &[OptionInfo] = &[
        OptionInfo {
            name: "path",
            expects: "a str",
            default: None,
            summary: "where to look",
        },
        OptionInfo {
            name: "depth",
            expects: "an int",
            default: Some("3"),
            summary: "how far to look",
        },
    ];

    #[test]
    fn options_are_read_as_their_types() {
        let config = Config::new().with("path", "x").with("depth", Value::Null);
        let reader = config.read("test", KNOWN).expect("all are known");
        assert_eq!(reader.required::<String>("path").expect("a text"), "x");
        assert_eq!(reader.optional::<i64>("depth").expect("absent"), None);
    }

    #[test]
    fn errors_name_the_option_its_type_and_the_known_ones() {
        let config = Config::new().with("pth", "x");
        let error = config.read("test", KNOWN).expect_err("unknown");
        assert_eq!(
            error.message(),
            "the test connector has no option 'pth'; it takes: path, depth"
        );
        let config = Config::new().with("depth", "x");
        let reader = config.read("test", KNOWN).expect("all are known");
        let error = reader.required::<String>("path").expect_err("absent");
        assert_eq!(
            error.message(),
            "the option 'path' of the test connector is required; expected a str: where to look"
        );
        let error = reader.optional::<i64>("depth").expect_err("a text");
        assert_eq!(
            error.message(),
            "the option 'depth' of the test connector is 'x', a str; \
             expected an int: how far to look"
        );
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.context("option"), Some("depth"));
    }

    #[test]
    fn a_bool_is_no_number_and_a_whole_number_is_a_float() {
        assert_eq!(i64::from_value(&Value::Bool(true)), None);
        assert_eq!(bool::from_value(&Value::Integer(1)), None);
        assert_eq!(f64::from_value(&Value::Integer(2)), Some(2.0));
        let list = Value::from(vec![Value::from("a"), Value::from(1)]);
        assert_eq!(Vec::<String>::from_value(&list), None);
    }

    proptest! {
        #[test]
        fn the_last_value_of_a_name_stays_in_the_first_place(
            options in prop::collection::vec(("[a-c]", any::<i64>()), 0..9),
        ) {
            let config: Config = options.iter().cloned().collect();
            let mut names: Vec<&str> = Vec::new();
            for (name, _) in &options {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
            prop_assert_eq!(config.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
            for (name, value) in config.iter() {
                let last = options.iter().rfind(|(known, _)| known == name);
                let last = last.map(|(_, value)| Value::from(*value));
                prop_assert_eq!(Some(value), last.as_ref());
            }
        }
    }
}
