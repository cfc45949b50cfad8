//! A network generated for one packing gives the same bits with every instruction set that reads it, on a machine that
//! has it and on one that does not.

use grano::isa::{Avx2, Avx512Vnni, Isa};
use grano::network::Condition;
use grano::picture::Picture;
use grano::{Gaussian, Model, Philox, Request, Sampler, Table};
use grano_codegen::Precision;
use grano_tests::models::{Draw, Evaluate, Visit, fashion, fashion_x86, unet_int8, unet_x86};

const REQUEST: Request = Request { label: Some(7), guidance: <fashion_x86::FashionX86 as Model>::GUIDANCE };

fn drawn<M: Model>() -> Vec<f32> {
    let mut sampler = Box::new(Sampler::<M, Gaussian<Philox>>::new());
    sampler.start(Table::default(), Gaussian(Philox::new(0, 0)), REQUEST).unwrap();
    sampler.run();
    sampler.x().to_vec()
}

#[test]
fn pictures_are_the_same_bits() {
    let noise = Gaussian(Philox::new(0, 0));
    let portable = fashion(
        Precision::Int8,
        Draw { sampler: <fashion_x86::FashionX86 as Model>::SAMPLERS[0].name, request: REQUEST, noise },
    );
    let portable = portable.last().unwrap();
    for x in [drawn::<fashion_x86::FashionX86<Avx2>>(), drawn::<fashion_x86::FashionX86<Avx512Vnni>>()] {
        assert_eq!(&x, portable);
        let shape = <fashion_x86::FashionX86 as Model>::SHAPE;
        assert_eq!(Picture::new(shape, &x).crc32(), 0x2aac_822c);
    }
}

fn evaluated<I: Isa>(x: &[f32], condition: Condition) -> Vec<f32> {
    Evaluate { x, condition }.visit::<unet_x86::UnetX86<I>>().0
}

#[test]
fn normalisation_and_attention_are_the_same_bits() {
    let x: Vec<f32> = (0..28 * 28).map(|i| (i * 7919 % 1000) as f32 / 300.0 - 1.5).collect();
    let condition = Condition { step: 1, class: 0 };
    let (portable, _) = Evaluate { x: &x, condition }.visit::<unet_int8::UnetInt8>();
    assert_eq!(evaluated::<Avx2>(&x, condition), portable);
    assert_eq!(evaluated::<Avx512Vnni>(&x, condition), portable);
}
