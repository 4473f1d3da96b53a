//! Construction of a graph, node by node.

use std::collections::HashSet;

use super::messages::{
    AttributeProto, AttributeType, DataType, Dimension, Extent, GraphProto, NodeProto, TensorProto, TensorShapeProto,
    TensorType, TypeProto, ValueInfoProto,
};

/// The set of operators for classical machine learning.
pub(super) const ML_DOMAIN: &str = "ai.onnx.ml";

/// The name of the number of examples, the first dimension of every input and output.
const EXAMPLES: &str = "N";

/// A graph under construction. Values are identified by name, and no two have the same name.
#[derive(Default, Debug)]
pub(super) struct Graph {
    names: HashSet<String>,
    graph: GraphProto,
}

impl Graph {
    /// A name that no other value has: `name`, possibly with a number appended.
    pub(super) fn name(&mut self, name: &str) -> String {
        let numbered = (2..).map(|i| format!("{name}_{i}"));
        let free = std::iter::once(name.to_string()).chain(numbered).find(|name| !self.names.contains(name));
        let free = free.unwrap_or_default();
        self.names.insert(free.clone());
        free
    }

    /// Adds an input, `(N, width)`.
    pub(super) fn input(&mut self, name: &str, entries: DataType, width: usize, meaning: &str) -> String {
        let name = self.name(name);
        self.graph.input.push(value(&name, entries, Some(width), meaning));
        name
    }

    /// Declares a value as an output: `(N, width)`, or `(N)`.
    pub(super) fn output(&mut self, name: &str, entries: DataType, width: Option<usize>, meaning: &str) {
        self.graph.output.push(value(name, entries, width, meaning));
    }

    /// Adds a constant; returns its name.
    pub(super) fn constant(&mut self, name: &str, shape: &[usize], entries: Entries<'_>) -> String {
        let name = self.name(name);
        let dims = shape.iter().map(|&extent| extent as i64).collect();
        let mut tensor = TensorProto { dims, name: name.clone(), ..TensorProto::default() };
        tensor.set_data_type(entries.data_type());
        match entries {
            Entries::Floats(values) => tensor.raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Entries::Doubles(values) => tensor.raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Entries::Texts(values) => tensor.string_data = values.iter().map(|text| text.clone().into()).collect(),
        }
        self.graph.initializer.push(tensor);
        name
    }

    /// Adds a vector of constants; returns its name.
    pub(super) fn vector(&mut self, name: &str, values: &[f64]) -> String {
        self.constant(name, &[values.len()], Entries::Doubles(values))
    }

    /// Applies an operator; returns the name of its value, which is `to` unless that is taken.
    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        to: &str,
    ) -> String {
        let to = self.name(to);
        self.node_to(operator, inputs, attributes, &to);
        to
    }

    /// Applies an operator; `to` is the reserved [`Graph::name`] of its value.
    pub(super) fn node_to(&mut self, operator: &str, inputs: &[&str], attribute: Vec<AttributeProto>, to: &str) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![to.to_string()],
            name: to.to_string(),
            op_type: operator.to_string(),
            attribute,
            domain: if operator == "OneHotEncoder" { ML_DOMAIN.to_string() } else { String::new() },
        });
    }

    /// Converts a value to another type.
    pub(super) fn cast(&mut self, from: &str, entries: DataType, to: &str) -> String {
        self.node("Cast", &[from], vec![whole("to", entries as i64)], to)
    }

    /// The complete graph.
    pub(super) fn finish(self, name: &str) -> GraphProto {
        GraphProto { name: name.to_string(), ..self.graph }
    }
}

/// The entries of a constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entries<'a> {
    Floats(&'a [f32]),
    Doubles(&'a [f64]),
    Texts(&'a [String]),
}

impl Entries<'_> {
    fn data_type(self) -> DataType {
        match self {
            Entries::Floats(_) => DataType::Float,
            Entries::Doubles(_) => DataType::Double,
            Entries::Texts(_) => DataType::String,
        }
    }
}

/// An integer attribute.
pub(super) fn whole(name: &str, i: i64) -> AttributeProto {
    let mut attribute = AttributeProto { name: name.to_string(), i: Some(i), ..AttributeProto::default() };
    attribute.set_type(AttributeType::Int);
    attribute
}

/// An attribute that is a list of strings.
pub(super) fn texts(name: &str, texts: &[String]) -> AttributeProto {
    let strings = texts.iter().map(|text| text.clone().into()).collect();
    let mut attribute = AttributeProto { name: name.to_string(), strings, ..AttributeProto::default() };
    attribute.set_type(AttributeType::Strings);
    attribute
}

fn value(name: &str, entries: DataType, width: Option<usize>, meaning: &str) -> ValueInfoProto {
    let extents = [Some(Extent::DimParam(EXAMPLES.to_string())), width.map(|width| Extent::DimValue(width as i64))];
    let dim = extents.into_iter().flatten().map(|extent| Dimension { value: Some(extent) }).collect();
    let tensor_type = TensorType { elem_type: entries.into(), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.to_string(),
        r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
        doc_string: meaning.to_string(),
    }
}
