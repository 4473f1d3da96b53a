//! The steps that are matrix products of their own, without an epilogue.

use super::epilogue::Keep;
use super::left::{left_columns, packed_columns};
use super::product::{Layout, Product, X, Y};
use super::run::{Run, Workspace};
use super::store::Store;
use crate::kernel::MiniBatch;
use crate::kernel::product::Extents;
use crate::kernels::MatmulParams;

/// `matmul`.
#[derive(Debug)]
pub struct Matmul {
    pub x: usize,
    pub y: usize,
    pub z: usize,
    pub extents: Extents,
    pub params: MatmulParams,
}

impl Run for Matmul {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, _: MiniBatch) {
        let Workspace { arch, team, packed, .. } = workspace;
        let (extents @ Extents { rows, cols, inner }, p) = (self.extents, &self.params);
        let [x, y, z] = store.get([self.x, self.y, self.z]);
        let (x, y) = (&*x.f32s(rows * inner), &*y.f32s(inner * cols));
        let x = match p.x_inner_stride {
            1 => X::Rows { values: x, stride: p.x_row_stride as usize },
            stride => left_columns(x, stride as usize, extents, bytemuck::cast_slice_mut(packed), team),
        };
        let y = match p.y_col_stride {
            1 => Y::Rows { values: y, stride: p.y_inner_stride as usize },
            stride => Y::Columns { values: y, stride: stride as usize },
        };
        let outputs = [z.f32s(rows * cols)];
        arch.dispatch(Product { extents, x, y, layout: Layout::Rows, outputs, epilogue: Keep, team });
    }

    fn extents(&self) -> Option<Extents> {
        Some(self.extents)
    }

    fn packed(&self) -> usize {
        packed_columns(self.params.x_inner_stride as usize, self.extents)
    }
}

/// `outer_product`.
#[derive(Debug)]
pub struct OuterProduct {
    pub delta: usize,
    pub a: usize,
    pub nabla_w: usize,
    pub extents: Extents,
}

impl Run for OuterProduct {
    fn run(&self, store: &mut Store, workspace: &mut Workspace, _: MiniBatch) {
        let Workspace { arch, team, packed, .. } = workspace;
        let extents @ Extents { rows, cols, inner } = self.extents;
        let [delta, a, nabla_w] = store.get([self.delta, self.a, self.nabla_w]);
        let x = left_columns(delta.f32s(rows * inner), rows, extents, bytemuck::cast_slice_mut(packed), team);
        let y = Y::Rows { values: a.f32s(inner * cols), stride: cols };
        let outputs = [nabla_w.f32s(rows * cols)];
        arch.dispatch(Product { extents, x, y, layout: Layout::Rows, outputs, epilogue: Keep, team });
    }

    fn extents(&self) -> Option<Extents> {
        Some(self.extents)
    }

    fn packed(&self) -> usize {
        packed_columns(self.extents.rows, self.extents)
    }
}
