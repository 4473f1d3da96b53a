//! Every shader is held against its row of the kernel table. Needs no GPU.

use std::collections::BTreeSet;

use gpu_backprop::kernel::{Access, Field, Grid, Kernel, MiniBatch, Params};
use gpu_backprop::kernels;
use gpu_backprop::plan::{Element, Snippets};
use gpu_backprop::{activation, cost};
use naga::{AddressSpace, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner};

/// Every combination of snippets that a kernel can be given.
fn combinations(kernel: &Kernel) -> Vec<Snippets> {
    let activations: Vec<_> = if kernel.uses_activation { activation::ALL.map(Some).to_vec() } else { vec![None] };
    let costs: Vec<_> = if kernel.uses_cost { cost::ALL.map(Some).to_vec() } else { vec![None] };
    activations
        .into_iter()
        .flat_map(|activation| costs.iter().map(move |&cost| Snippets { activation, cost }))
        .collect()
}

fn parse(kernel: &Kernel, snippets: Snippets) -> Module {
    let source = kernel.source(snippets);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&source)));
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}: {}", kernel.name, error.emit_to_string(&source)));
    module
}

fn modules() -> impl Iterator<Item = (&'static Kernel, Module)> {
    kernels::ALL
        .into_iter()
        .flat_map(|kernel| combinations(kernel).into_iter().map(move |snippets| (kernel, parse(kernel, snippets))))
}

/// The global variable bound at a group and binding: its name, address space and type.
fn bound(module: &Module, group: u32, binding: u32) -> Option<(&str, AddressSpace, &TypeInner)> {
    let (_, variable) = module
        .global_variables
        .iter()
        .find(|(_, variable)| variable.binding.is_some_and(|at| (at.group, at.binding) == (group, binding)))?;
    Some((variable.name.as_deref()?, variable.space, &module.types[variable.ty].inner))
}

fn assert_struct(module: &Module, what: &str, inner: &TypeInner, fields: &[Field]) {
    let TypeInner::Struct { members, .. } = inner else { panic!("{what} is not a struct") };
    let found: Vec<Field> = members
        .iter()
        .map(|member| Field {
            name: Box::leak(member.name.clone().expect("members have names").into_boxed_str()),
            wgsl: scalar(&module.types[member.ty].inner),
            offset: member.offset as usize,
        })
        .collect();
    assert_eq!(found, fields, "{what}: shader on the left, row on the right");
}

fn scalar(inner: &TypeInner) -> &'static str {
    match inner {
        TypeInner::Scalar(scalar) if scalar.width == 4 => match scalar.kind {
            ScalarKind::Uint => "u32",
            ScalarKind::Float => "f32",
            other => panic!("{other:?} is not shared with shaders"),
        },
        other => panic!("{other:?} is not a 32-bit scalar"),
    }
}

#[test]
fn every_shader_has_one_row_and_every_row_one_shader() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the folder of shaders")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wgsl"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let rows: BTreeSet<String> = kernels::ALL.iter().map(|kernel| kernel.name.to_string()).collect();
    assert_eq!(files, rows);
    assert_eq!(rows.len(), kernels::ALL.len(), "names are unique");
    for kernel in kernels::ALL {
        let file = std::fs::read_to_string(format!("{folder}/{}.wgsl", kernel.name)).expect("the shader");
        assert_eq!(kernel.shader, file, "{} has the text of another shader", kernel.name);
        assert!(file.starts_with("// "), "{}: the first line says what it computes", kernel.name);
    }
}

#[test]
fn the_entry_point_has_the_name_of_the_kernel() {
    for (kernel, module) in modules() {
        let entry_points: Vec<_> = module.entry_points.iter().map(|entry| (entry.name.as_str(), entry.stage)).collect();
        assert_eq!(entry_points, [(kernel.name, ShaderStage::Compute)]);
    }
}

#[test]
fn bindings_are_those_of_the_row() {
    for (kernel, module) in modules() {
        for (number, binding) in (1..).zip(kernel.bindings) {
            let what = format!("{}: binding {number}", kernel.name);
            let (name, space, inner) = bound(&module, 0, number).unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!(name, binding.name, "{what}");
            let access = match binding.access {
                Access::Read => StorageAccess::LOAD,
                Access::ReadWrite => StorageAccess::LOAD | StorageAccess::STORE,
            };
            assert_eq!(space, AddressSpace::Storage { access }, "{what}");
            let TypeInner::Array { base, .. } = inner else { panic!("{what} is not an array") };
            let element = match binding.element {
                Element::F32 => "f32",
                Element::U32 | Element::Byte => "u32",
            };
            assert_eq!(scalar(&module.types[*base].inner), element, "{what}");
        }
        let (output, inputs) = kernel.bindings.split_last().expect("a kernel has bindings");
        assert_eq!(output.access, Access::ReadWrite, "{}: the last binding is the output", kernel.name);
        assert!(inputs.iter().all(|input| input.access == Access::Read), "{}: one output", kernel.name);
        let bound = module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count();
        let uniforms = 1 + usize::from(kernel.reads_mini_batch);
        assert_eq!(bound, kernel.bindings.len() + uniforms, "{}: number of bindings", kernel.name);
    }
}

#[test]
fn params_have_the_same_members_on_both_sides() {
    for (kernel, module) in modules() {
        let (name, space, inner) = bound(&module, 0, 0).unwrap_or_else(|| panic!("{} has no params", kernel.name));
        assert_eq!((name, space), ("params", AddressSpace::Uniform), "{}", kernel.name);
        assert_struct(&module, &format!("the params of {}", kernel.name), inner, kernel.params);
        match bound(&module, 1, 0) {
            Some((name, space, inner)) => {
                assert!(kernel.reads_mini_batch, "{} reads the mini-batch, its row denies it", kernel.name);
                assert_eq!((name, space), ("mini_batch", AddressSpace::Uniform), "{}", kernel.name);
                assert_struct(&module, &format!("the mini-batch of {}", kernel.name), inner, MiniBatch::FIELDS);
            }
            None => assert!(!kernel.reads_mini_batch, "{} has no mini-batch, its row claims one", kernel.name),
        }
    }
}

#[test]
fn work_group_sizes_come_from_the_row() {
    for (kernel, module) in modules() {
        let names: BTreeSet<&str> =
            module.overrides.iter().map(|(_, constant)| constant.name.as_deref().expect("a name")).collect();
        let constants = kernel.grid.constants();
        assert_eq!(names, constants.iter().map(|(name, _)| *name).collect(), "{}", kernel.name);
        let sizes = module.entry_points[0].workgroup_size_overrides;
        let sizes = sizes.unwrap_or_else(|| panic!("{}: a work group size that is not an override", kernel.name));
        let used: Vec<&str> = sizes
            .into_iter()
            .flatten()
            .map(|size| match module.global_expressions[size] {
                naga::Expression::Override(constant) => module.overrides[constant].name.as_deref().expect("a name"),
                ref other => panic!("{}: {other:?} in the work group size", kernel.name),
            })
            .collect();
        let expected = match kernel.grid {
            Grid::PerEntry { .. } | Grid::OneWorkGroup { .. } => vec!["WORKGROUP_SIZE"],
            Grid::PerRowAndColumn { .. } => vec!["WORKGROUP_COLS", "WORKGROUP_ROWS"],
        };
        assert_eq!(used, expected, "{}", kernel.name);
        if let Grid::OneWorkGroup { size } = kernel.grid {
            assert!(size.is_power_of_two(), "{}: its reduction halves {size} lanes again and again", kernel.name);
        }
    }
}

#[test]
fn snippets_are_used_where_the_row_says_so() {
    for (kernel, module) in modules() {
        let functions: BTreeSet<&str> =
            module.functions.iter().map(|(_, function)| function.name.as_deref().expect("a name")).collect();
        let calls = |name| kernel.shader.contains(&format!("{name}("));
        assert_eq!(functions.contains("sigma"), kernel.uses_activation, "{}", kernel.name);
        assert_eq!(functions.contains("cost"), kernel.uses_cost, "{}", kernel.name);
        assert_eq!(calls("sigma") || calls("sigma_prime"), kernel.uses_activation, "{}", kernel.name);
        assert_eq!(calls(" cost") || calls("cost_derivative"), kernel.uses_cost, "{}", kernel.name);
    }
}
