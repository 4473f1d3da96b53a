//! Every shader is held against its row of the kernel table. Needs no GPU.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::networks::{Rung, networks};

use gpu_backprop::backprop::training_plan;
use gpu_backprop::kernel::product::{Precision, VARIANTS, Variant};
use gpu_backprop::kernel::{Access, Field, Grid, Kernel, MiniBatch, Params, Realization, Specification};
use gpu_backprop::kernels::{self, TRAIN_IN_WORKGROUP};
use gpu_backprop::network::{activation, cost};
use gpu_backprop::plan::{Element, Snippets};
use gpu_backprop::rewrite::fuse::fuse;
use gpu_backprop::rewrite::training_loop::TrainingLoop;
use naga::valid::Capabilities;
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

/// The training loop with the constants of every network that it may be for, and its parsed shader.
static LOOPS: LazyLock<Vec<(TrainingLoop, Module)>> = LazyLock::new(|| {
    let loops = networks(Rung::Cpu).filter(|network| network.m <= 17).map(|network| {
        let plan = training_plan(&network.topology(), &network.examples(20, 30), network.m).expect("the shapes fit");
        assert!(TrainingLoop::of(&fuse(&plan)).is_none(), "only of the primitive plan");
        let training = TrainingLoop::of(&plan).expect("a training plan");
        let module = parse_text(TRAIN_IN_WORKGROUP.name, &training.source());
        (training, module)
    });
    loops.collect()
});

/// Every way to compute a kernel.
fn realizations(kernel: &Kernel) -> Vec<Option<Realization>> {
    match kernel.product {
        None => vec![None],
        Some(_) => VARIANTS
            .into_iter()
            .flat_map(|variant| {
                let ways = [Precision::Full, Precision::Mixed].into_iter().flat_map(|p| [(p, false), (p, true)]);
                ways.map(move |(precision, vec4)| Some(Realization { variant, vec4, precision }))
            })
            .collect(),
    }
}

fn parse_text(name: &str, source: &str) -> Module {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    let capabilities = [
        Capabilities::SUBGROUP,
        Capabilities::SHADER_FLOAT16,
        Capabilities::SHADER_FLOAT16_IN_FLOAT32,
        Capabilities::COOPERATIVE_MATRIX,
    ]
    .into_iter()
    .collect();
    naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::BASIC | naga::valid::SubgroupOperationSet::ARITHMETIC)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)));
    module
}

/// A kernel, a way to compute it, and its parsed shader.
type Parsed = (&'static Kernel, Option<Realization>, Module);

/// Every kernel, with each combination of snippets, computed in each way.
static MODULES: LazyLock<Vec<Parsed>> = LazyLock::new(|| {
    let each = kernels::PRIMITIVE.into_iter().chain(kernels::FUSED).flat_map(|kernel| {
        combinations(kernel).into_iter().flat_map(move |snippets| {
            realizations(kernel).into_iter().map(move |realization| {
                let source = kernel.source(snippets, realization);
                (kernel, realization, parse_text(kernel.name, &source))
            })
        })
    });
    each.chain(LOOPS.iter().map(|(_, module)| (&TRAIN_IN_WORKGROUP, None, module.clone()))).collect()
});

/// Bytes of work group memory, where an array may be as long as the work group is wide.
fn shared_memory(module: &Module, width: u32) -> u32 {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("a layout");
    let size = |ty| match module.types[ty].inner {
        TypeInner::Array { stride, size: naga::ArraySize::Pending(_), .. } => stride * width,
        _ => layouter[ty].size,
    };
    let variables = module.global_variables.iter().map(|(_, variable)| variable);
    variables.filter(|variable| variable.space == AddressSpace::WorkGroup).map(|variable| size(variable.ty)).sum()
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

/// The names of the shaders in a folder.
fn files(folder: &str) -> BTreeSet<String> {
    std::fs::read_dir(format!("{SHADERS}/{folder}"))
        .expect("a folder of shaders")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wgsl"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect()
}

const SHADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");

fn names(rows: &[&Kernel]) -> BTreeSet<String> {
    rows.iter().map(|kernel| kernel.name.to_string()).collect()
}

fn every_shader_has_one_row_and_every_row_one_shader() {
    assert_eq!(files(""), names(&kernels::PRIMITIVE));
    assert_eq!(files("fused"), names(&kernels::FUSED));
    let inputs = ["input_16_bytes", "input_4_bytes", "input_4_floats", "input_bytes", "input_floats"];
    let desired = ["desired_classes", "desired_numbers", "desired_weighted_classes"];
    let parts = inputs.into_iter().chain(desired).map(ToString::to_string);
    assert_eq!(files("loop"), names(&[&TRAIN_IN_WORKGROUP]).into_iter().chain(parts).collect());
    assert_eq!(names(&kernels::all().collect::<Vec<_>>()).len(), kernels::all().count(), "names are unique");
    for (folder, rows) in
        [("", &kernels::PRIMITIVE[..]), ("fused", &kernels::FUSED[..]), ("loop", &[&TRAIN_IN_WORKGROUP])]
    {
        for kernel in rows {
            let file = std::fs::read_to_string(format!("{SHADERS}/{folder}/{}.wgsl", kernel.name)).expect("the shader");
            assert_eq!(kernel.shader, file, "{} has the text of another shader", kernel.name);
            assert!(file.starts_with("// "), "{}: the first line says what it computes", kernel.name);
        }
    }
}

fn every_variant_has_the_shader_of_its_name() {
    let shared = ["blocks", "full", "mixed", "nn", "nn_vec4", "nt", "nt_vec4", "store", "tn", "tn_vec4"];
    // Cooperative matrices of every size have one shader.
    let named = |variant: &Variant| if variant.cooperative.is_some() { "cooperative" } else { variant.name };
    let variants = VARIANTS.map(named);
    assert_eq!(files("product"), variants.into_iter().chain(shared).map(ToString::to_string).collect());
    for variant in VARIANTS {
        let file = std::fs::read_to_string(format!("{SHADERS}/product/{}.wgsl", named(variant))).expect("the shader");
        assert_eq!(variant.shader, file, "{} has the text of another shader", variant.name);
    }
}

fn fused_kernels_replace_primitives() {
    for kernel in kernels::PRIMITIVE {
        assert!(matches!(kernel.specification, Specification::Twin(_)), "{}", kernel.name);
    }
    for kernel in kernels::FUSED.into_iter().chain([&TRAIN_IN_WORKGROUP]) {
        let Specification::Primitives(replaced) = kernel.specification else { panic!("{} has a twin", kernel.name) };
        assert!(replaced.len() > 1 && replaced.iter().all(|name| names(&kernels::PRIMITIVE).contains(*name)));
    }
}

fn the_entry_point_has_the_name_of_the_row() {
    for (kernel, _, module) in &*MODULES {
        let entry_points: Vec<_> = module.entry_points.iter().map(|entry| (entry.name.as_str(), entry.stage)).collect();
        assert_eq!(entry_points, [(kernel.entry_point(), ShaderStage::Compute)]);
    }
}

fn shared_memory_is_what_the_variant_says() {
    for (kernel, realization, module) in &*MODULES {
        let Some(Realization { variant, precision, .. }) = *realization else { continue };
        let bytes = shared_memory(module, variant.grid.size()[0]);
        match precision {
            Precision::Full => assert_eq!(bytes, variant.shared_memory, "{} by {}", kernel.name, variant.name),
            Precision::Mixed => assert!(bytes <= variant.shared_memory, "{} by {}", kernel.name, variant.name),
        }
        assert!(bytes <= 16_384, "{}: more than every GPU has", variant.name);
    }
}

fn shared_memory_is_what_the_loop_says() {
    for (training, module) in &*LOOPS {
        let bytes = shared_memory(module, TRAIN_IN_WORKGROUP.grid.size()[0]);
        assert_eq!(bytes as usize, training.shared_memory());
    }
}

fn bindings_are_those_of_the_row() {
    for (kernel, _, module) in &*MODULES {
        for (number, binding) in (1..).zip(kernel.bindings) {
            let what = format!("{}: binding {number}", kernel.name);
            let (name, space, inner) = bound(module, 0, number).unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!(name, binding.name, "{what}");
            let access = match binding.access {
                Access::Read => StorageAccess::LOAD,
                Access::ReadWrite => StorageAccess::LOAD | StorageAccess::STORE,
            };
            assert_eq!(space, AddressSpace::Storage { access }, "{what}");
            let TypeInner::Array { base, .. } = inner else { panic!("{what} is not an array") };
            let base = match module.types[*base].inner {
                TypeInner::Vector { size: naga::VectorSize::Quad, scalar } => TypeInner::Scalar(scalar),
                ref inner => inner.clone(),
            };
            let element = match binding.element {
                Element::F32 => "f32",
                Element::U32 | Element::Byte => "u32",
            };
            assert_eq!(scalar(&base), element, "{what}");
        }
        let written: Vec<bool> = kernel.bindings.iter().map(|binding| binding.access == Access::ReadWrite).collect();
        assert!(written.is_sorted() && written.last() == Some(&true), "{}: outputs come last", kernel.name);
        let bound = module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count();
        let uniforms = 1 + usize::from(kernel.reads_mini_batch);
        assert_eq!(bound, kernel.bindings.len() + uniforms, "{}: number of bindings", kernel.name);
    }
}

fn params_have_the_same_members_on_both_sides() {
    for (kernel, _, module) in &*MODULES {
        let (name, space, inner) = bound(module, 0, 0).unwrap_or_else(|| panic!("{} has no params", kernel.name));
        assert_eq!((name, space), ("params", AddressSpace::Uniform), "{}", kernel.name);
        assert_struct(module, &format!("the params of {}", kernel.name), inner, kernel.params);
        match bound(module, 1, 0) {
            Some((name, space, inner)) => {
                assert!(kernel.reads_mini_batch, "{} reads the mini-batch, its row denies it", kernel.name);
                assert_eq!((name, space), ("mini_batch", AddressSpace::Uniform), "{}", kernel.name);
                assert_struct(module, &format!("the mini-batch of {}", kernel.name), inner, MiniBatch::FIELDS);
            }
            None => assert!(!kernel.reads_mini_batch, "{} has no mini-batch, its row claims one", kernel.name),
        }
    }
}

fn work_group_sizes_come_from_the_row() {
    for (kernel, realization, module) in &*MODULES {
        let grid = kernel.grid(*realization);
        let names: BTreeSet<&str> =
            module.overrides.iter().map(|(_, constant)| constant.name.as_deref().expect("a name")).collect();
        let constants = grid.constants();
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
        let expected = match grid {
            Grid::PerEntry { .. } | Grid::OneWorkGroup { .. } => vec!["WORKGROUP_SIZE"],
            Grid::PerRowAndColumn { .. } | Grid::PerTile { .. } => vec!["WORKGROUP_COLS", "WORKGROUP_ROWS"],
        };
        assert_eq!(used, expected, "{}", kernel.name);
        if let Grid::OneWorkGroup { size } = grid {
            assert!(size.is_power_of_two(), "{}: its reduction halves {size} lanes again and again", kernel.name);
        }
    }
}

fn snippets_are_used_where_the_row_says_so() {
    for (kernel, _, module) in &*MODULES {
        let functions: BTreeSet<&str> =
            module.functions.iter().map(|(_, function)| function.name.as_deref().expect("a name")).collect();
        let calls = |name| kernel.shader.contains(&format!("{name}("));
        assert_eq!(functions.contains("sigma"), kernel.uses_activation, "{}", kernel.name);
        assert_eq!(functions.contains("cost"), kernel.uses_cost, "{}", kernel.name);
        assert_eq!(
            calls("sigma") || calls("sigma_prime") || calls("sigma_prime_from_a"),
            kernel.uses_activation,
            "{}",
            kernel.name
        );
        assert_eq!(calls(" cost") || calls("cost_derivative"), kernel.uses_cost, "{}", kernel.name);
    }
}

trials! {
    once:
        every_shader_has_one_row_and_every_row_one_shader,
        every_variant_has_the_shader_of_its_name,
        fused_kernels_replace_primitives,
        the_entry_point_has_the_name_of_the_row,
        shared_memory_is_what_the_variant_says,
        shared_memory_is_what_the_loop_says,
        bindings_are_those_of_the_row,
        params_have_the_same_members_on_both_sides,
        work_group_sizes_come_from_the_row,
        snippets_are_used_where_the_row_says_so;
}
