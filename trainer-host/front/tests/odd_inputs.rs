//! A table of data and arguments as people have them: what each is, the command, and what comes of it. Nothing here needs
//! libtorch: the trainer reads the same arguments and data by the same code.

mod makes;

use std::path::Path;
use std::process::Command;

use makes::*;

/// What a command ends with.
enum Outcome {
    /// Success, and these words on standard output.
    Says(&'static [&'static str]),
    /// One error with these words, and nothing written.
    Fails(&'static [&'static str]),
}
use Outcome::{Fails, Says};

/// What it is, how it is made in an empty folder, the command with `@` for that folder and `_` for a blank, and what comes
/// of it.
type Case = (&'static str, fn(&Path), &'static str, Outcome);

const LOOK: &str = "look --data @/d";
const TRAIN: &str = "train --data @/d --run @/run";

fn cases() -> Vec<Case> {
    let folders: Vec<Case> = vec![
        ("a folder that is not there", |_| (), LOOK, Fails(&["/d", "no such file or folder"])),
        ("an empty folder", |r| dir(r, "d"), LOOK, Fails(&["neither pictures", "/d"])),
        ("classes", classes, LOOK, Says(&["classes: 3", "0 ant: 4", "2 cat: 4", "12 of 8×12, colour"])),
        ("classes in natural order", numbers, LOOK, Says(&["  0 0: 2", "  2 2: 2", " 10 10: 2"])),
        ("one level too deep", |r| classes_in(r, "d/data/pictures"), LOOK, Says(&["0 ant", "classes: 3"])),
        ("files deeper than their class", deeper, LOOK, Says(&["classes: 2", "1 pictures lie deeper"])),
        ("a flat folder", flat, LOOK, Says(&["classes: none", "pictures: 6"])),
        ("one subfolder alone", |r| all(r, "d/all", 6), LOOK, Says(&["classes: none", "all pictures lie in `all`"])),
        ("pictures beside classes", beside, LOOK, Fails(&["lie beside folders", "--no-classes"])),
        ("the same without classes", beside, "look --data @/d --no-classes", Says(&["classes: none", "pictures: 13"])),
        (
            "train and test folders",
            parts,
            LOOK,
            Says(&["classes: 3", "with a test set", "12 pictures of the data's own test"]),
        ),
        ("train and val alone, flat", flat_parts, LOOK, Says(&["classes: none", "4 pictures of the data's own test"])),
        (
            "an empty class",
            |r| {
                classes(r);
                dir(r, "d/dog")
            },
            LOOK,
            Says(&["classes: 3"]),
        ),
        (
            "notes among pictures",
            notes,
            LOOK,
            Says(&["classes: 3", "left out, no picture: 2 (ant/notes.txt, readme.md)"]),
        ),
        ("hidden files and folders", hidden, LOOK, Says(&["classes: 3", "left out, hidden or of the system: 6"])),
        (
            "names with blanks around",
            |r| {
                all(r, "d/ cat ", 3);
                all(r, "d/dog", 3)
            },
            LOOK,
            Says(&["0 cat: 3", "1 dog"]),
        ),
        (
            "two names but for blanks",
            |r| {
                all(r, "d/cat", 3);
                all(r, "d/cat ", 3)
            },
            LOOK,
            Fails(&["two folders", "`cat`"]),
        ),
        (
            "two names but for capitals",
            |r| {
                all(r, "d/cat", 3);
                all(r, "d/Cat", 3)
            },
            LOOK,
            Says(&["but for capitals"]),
        ),
        (
            "a name of blanks",
            |r| {
                all(r, "d/ ", 3);
                all(r, "d/dog", 3)
            },
            LOOK,
            Fails(&["without a name"]),
        ),
        (
            "names in other scripts",
            |r| {
                all(r, "d/猫", 3);
                all(r, "d/köpek", 3)
            },
            LOOK,
            Says(&["猫", "köpek"]),
        ),
        ("every picture a class", own_classes, LOOK, Fails(&["a class of its own", "--no-classes"])),
        ("a link to the folder around", linked, LOOK, Says(&["pictures: 6", "a link to a folder around it"])),
        (
            "uneven classes",
            |r| {
                all(r, "d/a", 40);
                all(r, "d/b", 2)
            },
            LOOK,
            Says(&["classes are uneven, 2 to 40"]),
        ),
        ("one picture's file", |r| flat(r), "look --data @/d/0.png", Fails(&["one picture alone", "--data"])),
    ];
    let files: Vec<Case> = vec![
        ("all formats by content", formats, LOOK, Says(&["pictures: 6 of 8×8, colour"])),
        ("endings that lie or are missing", lying, LOOK, Says(&["pictures: 3"])),
        ("formats that are not read", foreign, LOOK, Says(&["pictures: 6", "HEIC or AVIF", "ICO, which is not read"])),
        (
            "a broken picture",
            |r| {
                all(r, "d", 6);
                cut(r, "d/0.png")
            },
            LOOK,
            Says(&["pictures: 5", "left out, broken", "0.png"]),
        ),
        ("a JPEG that is cut off", cut_jpeg, LOOK, Says(&["pictures: 6", "the JPEG ends too early: 1 (z.jpg)"])),
        (
            "an empty file",
            |r| {
                flat(r);
                write(r, "d/none.png", b"")
            },
            LOOK,
            Says(&["left out, empty: 1"]),
        ),
        ("mostly broken", mostly_broken, LOOK, Fails(&["4 of 6 pictures cannot be read", "repair or remove"])),
        ("several sizes", sizes, LOOK, Fails(&["2 sizes", "2 of 8×8", "--size 8x12", "--resize"])),
        (
            "several sizes, cropped",
            sizes,
            "look --data @/d --size 16",
            Says(&["of 16×16", "sizes as found: 2 of 8×8, 4 of 8×12"]),
        ),
        ("several sizes, padded", sizes, "look --data @/d --size 8x8 --resize pad", Says(&["of 8×8"])),
        ("several sizes, stretched", sizes, "look --data @/d --size 20x12 --resize stretch", Says(&["of 20×12"])),
        ("photographs", |r| photo(r, "d/a.png"), LOOK, Fails(&["600×800", "--size 32"])),
        ("photographs made small", |r| photo(r, "d/a.png"), "look --data @/d --size 32", Says(&["1 of 32×32"])),
        ("pictures of one pixel", |r| grey(r, "d/a.png", [1, 1], 200), LOOK, Fails(&["1×1", "--size"])),
        (
            "sides of any size",
            |r| (0..3).for_each(|i| striped(r, &format!("d/{i}.png"), [10, 13])),
            LOOK,
            Says(&["of 13×10", "--size 16x12 --resize pad"]),
        ),
        ("grey among colour", mixed, LOOK, Says(&["3 of 6 pictures have colour", "colour"])),
        ("grey among colour, taken as grey", mixed, "look --data @/d --grey", Says(&["of 8×8, grey"])),
        ("grey taken as colour", grey_only, "look --data @/d --colour", Says(&["of 8×8, colour"])),
        ("colour without colour", grey_as_colour, LOOK, Says(&["--grey makes the network smaller"])),
        ("grey and colour at once", flat, "look --data @/d --grey --colour", Fails(&["--grey", "--colour"])),
        ("transparent over white", transparent, LOOK, Says(&["values: 64 to 255, mean 207"])),
        (
            "transparent over black",
            transparent,
            "look --data @/d --background black",
            Says(&["values: 0 to 64, mean 16"]),
        ),
        ("turned by EXIF", turned, LOOK, Says(&["of 12×8"])),
        ("16 bits", sixteen, LOOK, Says(&["values: 0 to 255"])),
        ("12 bits in 16", twelve, LOOK, Fails(&["nearly black", "--range"])),
        ("12 bits in 16, said so", twelve, "look --data @/d --range 0..4095", Says(&["values: 0 to 255"])),
        ("masks of 0 and 1", masks, LOOK, Fails(&["between 0 and 1 of 255", "--range 0..1"])),
        ("masks of 0 and 1, said so", masks, "look --data @/d --range 0..1", Says(&["values: 0 to 255"])),
        (
            "pictures of one colour",
            |r| (0..4).for_each(|i| grey(r, &format!("d/{i}.png"), [8, 8], 200)),
            LOOK,
            Fails(&["of one colour", "nothing to learn"]),
        ),
        (
            "some pictures of one colour",
            |r| {
                flat(r);
                grey_rgb(r, "d/z.png", 200)
            },
            LOOK,
            Says(&["1 of 7 pictures are of one colour"]),
        ),
        ("an animation", animation, LOOK, Says(&["pictures: 1 of 8×8"])),
    ];
    let arrays: Vec<Case> = vec![
        (
            "an array without labels",
            |r| npy(r, "d.npy", &[20, 8, 8]),
            "look --data @/d.npy",
            Says(&["20 of 8×8, grey", "no labels were found"]),
        ),
        ("an array with labels", with_labels, "look --data @/d.npy", Says(&["classes: 3", "0 0: 7"])),
        ("colour last", |r| npy(r, "d.npy", &[20, 8, 12, 3]), "look --data @/d.npy", Says(&["of 8×12, colour"])),
        ("colour first", |r| npy(r, "d.npy", &[20, 3, 8, 12]), "look --data @/d.npy", Says(&["of 8×12, colour"])),
        ("one channel first", |r| npy(r, "d.npy", &[20, 1, 8, 12]), "look --data @/d.npy", Says(&["of 8×12, grey"])),
        (
            "opacity as the fourth",
            |r| npy(r, "d.npy", &[20, 8, 8, 4]),
            "look --data @/d.npy",
            Says(&["of 8×8, colour"]),
        ),
        (
            "colour on either side",
            |r| npy(r, "d.npy", &[20, 3, 8, 3]),
            "look --data @/d.npy",
            Fails(&["--layout nchw"]),
        ),
        (
            "the same, said so",
            |r| npy(r, "d.npy", &[20, 3, 8, 4]),
            "look --data @/d.npy --layout nhwc --size 8",
            Says(&["of 8×8, colour"]),
        ),
        (
            "twelve channels",
            |r| npy(r, "d.npy", &[20, 8, 8, 12]),
            "look --data @/d.npy",
            Fails(&["12 channels", "1, 3 or 4"]),
        ),
        ("flat rows", |r| npy(r, "d.npy", &[20, 64]), "look --data @/d.npy", Fails(&["2 axes", "reshape(-1, 8, 8)"])),
        (
            "one picture's array",
            |r| npy(r, "d.npy", &[28, 28, 3]),
            "look --data @/d.npy",
            Fails(&["is one picture", "[N, H, W, C]"]),
        ),
        ("five axes", |r| npy(r, "d.npy", &[2, 2, 8, 8, 1]), "look --data @/d.npy", Fails(&["5 axes"])),
        ("no pictures", |r| npy(r, "d.npy", &[0, 8, 8]), "look --data @/d.npy", Fails(&["no pictures"])),
        ("floats from 0 to 1", |r| floats(r, 0.0, 1.0), "look --data @/d.npy", Says(&["values: 0 to 255"])),
        ("floats from -1 to 1", |r| floats(r, -1.0, 1.0), "look --data @/d.npy", Says(&["values: 0 to 255"])),
        (
            "floats from 0 to 16",
            |r| floats(r, 0.0, 16.0),
            "look --data @/d.npy",
            Fails(&["from 0 to 16", "--range 0..16"]),
        ),
        (
            "floats from 0 to 16, said so",
            |r| floats(r, 0.0, 16.0),
            "look --data @/d.npy --range 0..16",
            Says(&["values: 0 to 255"]),
        ),
        ("standardised floats", |r| floats(r, -2.1, 2.6), "look --data @/d.npy", Fails(&["--range -2.1..2.6"])),
        ("NaN", |r| floats(r, f32::NAN, 1.0), "look --data @/d.npy", Fails(&["value 0 is NaN"])),
        ("infinity", |r| floats(r, 0.0, f32::INFINITY), "look --data @/d.npy", Fails(&["is inf"])),
        ("bytes of 0 and 1", |r| scaled(r, 1), "look --data @/d.npy", Fails(&["nearly black", "--range 0..1"])),
        ("bytes of 0 to 16", |r| scaled(r, 16), "look --data @/d.npy", Fails(&["nearly black", "--range 0..16"])),
        ("truth values", truth, "look --data @/d.npy", Says(&["values: 0 to 255"])),
        ("64-bit bytes, columns first", wide, "look --data @/d.npy", Says(&["20 of 8×12"])),
        ("half precision", half, "look --data @/d.npy", Fails(&["<f2", "astype"])),
        (
            "an array that is cut off",
            |r| {
                npy(r, "d.npy", &[20, 8, 8]);
                cut(r, "d.npy")
            },
            "look --data @/d.npy",
            Fails(&["d.npy", "broken"]),
        ),
        (
            "an array's head alone",
            |r| write(r, "d.npy", b"\x93NUMPY\x01\x00\xff\xff{"),
            "look --data @/d.npy",
            Fails(&["d.npy", "broken"]),
        ),
        ("no array at all", |r| write(r, "d.npy", b"hello"), "look --data @/d.npy", Fails(&["d.npy", "broken"])),
        ("labels alone", |r| labels(r, "d.npy", &[0, 1, 2]), "look --data @/d.npy", Fails(&["labels, it seems"])),
        (
            "too few labels",
            |r| {
                npy(r, "d.npy", &[20, 8, 8]);
                labels(r, "d.labels.npy", &[0; 19])
            },
            "look --data @/d.npy",
            Fails(&["20 pictures", "d.labels.npy", "19 labels"]),
        ),
        (
            "negative labels",
            |r| {
                npy(r, "d.npy", &[4, 8, 8]);
                labels(r, "d.labels.npy", &[0, -1, 0, 0])
            },
            "look --data @/d.npy",
            Fails(&["d.labels.npy", "negative"]),
        ),
        (
            "labels of two thousand million",
            |r| {
                npy(r, "d.npy", &[4, 8, 8]);
                labels(r, "d.labels.npy", &[0, 2_000_000_000, 0, 0])
            },
            "look --data @/d.npy",
            Says(&["classes: 2", "1 2000000000: 1"]),
        ),
        (
            "labels with gaps",
            |r| {
                npy(r, "d.npy", &[6, 8, 8]);
                labels(r, "d.labels.npy", &[1, 3, 26, 1, 3, 26])
            },
            "look --data @/d.npy",
            Says(&["classes: 3", "labels 1 … 26 are classes 0 … 2"]),
        ),
        ("labels of bytes in a column", column, "look --data @/d.npy", Says(&["classes: 2"])),
        ("labels of fractions", fractions, "look --data @/d.npy", Fails(&["0.5", "no number of a class"])),
        ("labels of text", text_labels, "look --data @/d.npy", Fails(&["labels of text", "--labels"])),
        (
            "x and y, train and test",
            |r| pairs(r, "d/"),
            LOOK,
            Says(&["classes: 3", "6 pictures of the data's own test"]),
        ),
        (
            "an archive of the same",
            archive,
            "look --data @/d.npz",
            Says(&["classes: 3", "6 pictures of the data's own test"]),
        ),
        (
            "two arrays of pictures",
            |r| {
                npy(r, "d/images.npy", &[4, 8, 8]);
                npy(r, "d/masks.npy", &[4, 8, 8])
            },
            LOOK,
            Fails(&["several data sets", "masks"]),
        ),
        (
            "an array a picture",
            |r| (0..30).for_each(|i| npy(r, &format!("d/p{i}.npy"), &[8, 8, 3])),
            LOOK,
            Fails(&["np.stack"]),
        ),
        ("a zip of pictures", zip_of_pictures, "look --data @/d.zip", Fails(&["unpack it"])),
        (
            "a broken zip",
            |r| write(r, "d.npz", b"PK\x03\x04broken"),
            "look --data @/d.npz",
            Fails(&["d.npz", "broken archive"]),
        ),
        (
            "a zip in a folder",
            |r| {
                zip_of_pictures(r);
                dir(r, "d");
                std::fs::rename(r.join("d.zip"), r.join("d/a.zip")).unwrap()
            },
            LOOK,
            Fails(&["unpack archives"]),
        ),
        ("a pickle", |r| write(r, "d.pkl", b"\x80\x04}q."), "look --data @/d.pkl", Fails(&["np.savez"])),
        ("a tar", |r| write(r, "d.tar", b"whatever"), "look --data @/d.tar", Fails(&["an archive; unpack it"])),
    ];
    let idx_files: Vec<Case> = vec![
        (
            "IDX",
            |r| mnist(r, "train-images-idx3-ubyte", false),
            LOOK,
            Says(&["classes: 3", "12 pictures of the data's own test"]),
        ),
        ("IDX with dots", |r| mnist(r, "train-images.idx3-ubyte", false), LOOK, Says(&["classes: 3"])),
        ("IDX, gzipped", |r| mnist(r, "train-images-idx3-ubyte.gz", true), LOOK, Says(&["classes: 3"])),
        ("IDX, gzipped under a plain name", |r| mnist(r, "train-images-idx3-ubyte", true), LOOK, Says(&["classes: 3"])),
        ("IDX as torchvision keeps them", torchvision, LOOK, Says(&["classes: 3"])),
        (
            "one IDX file of several sets",
            emnist,
            "look --data @/d/emnist-letters-train-images-idx3-ubyte",
            Says(&["classes: 3", "12 pictures of the data's own"]),
        ),
        ("several IDX sets", emnist, LOOK, Fails(&["several data sets", "`emnist-letters`", "give the file of one"])),
        (
            "IDX without labels",
            |r| {
                mnist(r, "train-images-idx3-ubyte", false);
                remove(r, "d/train-labels-idx1-ubyte");
                remove(r, "d/t10k-labels-idx1-ubyte")
            },
            LOOK,
            Says(&["classes: none", "no labels were found"]),
        ),
        (
            "IDX with labels of one part",
            |r| {
                mnist(r, "train-images-idx3-ubyte", false);
                remove(r, "d/t10k-labels-idx1-ubyte")
            },
            LOOK,
            Fails(&["labels for some", "--no-classes"]),
        ),
        (
            "IDX, fewer labels",
            |r| {
                mnist(r, "train-images-idx3-ubyte", false);
                idx(r, "d/train-labels-idx1-ubyte", &[47], &[0; 47])
            },
            LOOK,
            Fails(&["48 pictures", "47 labels"]),
        ),
        (
            "IDX, cut off",
            |r| {
                mnist(r, "train-images-idx3-ubyte", false);
                cut(r, "d/train-images-idx3-ubyte")
            },
            LOOK,
            Fails(&["train-images-idx3-ubyte", "bytes for a shape"]),
        ),
        (
            "IDX, cut in the head",
            |r| {
                mnist(r, "train-images-idx3-ubyte", false);
                write(r, "d/train-labels-idx1-ubyte", &[0, 0, 8, 1, 0])
            },
            LOOK,
            Fails(&["train-labels-idx1-ubyte", "not an IDX file"]),
        ),
        (
            "IDX, a cut archive",
            |r| {
                mnist(r, "train-images-idx3-ubyte.gz", true);
                cut(r, "d/train-images-idx3-ubyte.gz")
            },
            LOOK,
            Fails(&["train-images-idx3-ubyte.gz", "broken file"]),
        ),
        (
            "IDX without pictures",
            |r| {
                idx(r, "d/train-images-idx3-ubyte", &[0, 8, 8], &[]);
                idx(r, "d/train-labels-idx1-ubyte", &[0], &[])
            },
            LOOK,
            Fails(&["no pictures"]),
        ),
        (
            "IDX with a test set alone",
            |r| {
                mnist(r, "train-images-idx3-ubyte", false);
                remove(r, "d/train-labels-idx1-ubyte");
                remove(r, "d/train-images-idx3-ubyte")
            },
            LOOK,
            Says(&["pictures: 12", "classes: 3"]),
        ),
    ];
    let tables: Vec<Case> = vec![
        (
            "labels.csv",
            |r| csv(r, "labels.csv", "file,label\n", ","),
            LOOK,
            Says(&["labelled by labels.csv", "classes: 2"]),
        ),
        ("a table without a header", |r| csv(r, "t.csv", "", ","), LOOK, Says(&["classes: 2"])),
        ("a table with semicolons", |r| csv(r, "t.csv", "filename;class\n", ";"), LOOK, Says(&["classes: 2"])),
        ("a table with a mark in front", |r| csv(r, "t.csv", "\u{feff}file,label\n", ","), LOOK, Says(&["classes: 2"])),
        (
            "names without endings",
            |r| {
                flat(r);
                write(r, "d/t.csv", b"id,breed\n0,pug\n1,pug\n2,husky\n3,husky\n4,pug\n5,pug")
            },
            LOOK,
            Says(&["0 husky: 2", "1 pug: 4"]),
        ),
        (
            "a table elsewhere",
            |r| {
                flat(r);
                write(r, "labels.csv", b"file,label\n0.png,a\n1.png,b")
            },
            "look --data @/d --csv @/labels.csv",
            Says(&["classes: 2", "without a label in the CSV: 4"]),
        ),
        (
            "the table itself",
            |r| csv(r, "labels.csv", "file,label\n", ","),
            "look --data @/d/labels.csv",
            Says(&["classes: 2"]),
        ),
        (
            "a table of other files",
            |r| {
                flat(r);
                write(r, "d/labels.csv", b"file,label\nx.png,a\ny.png,b")
            },
            LOOK,
            Fails(&["names no picture", "x.png"]),
        ),
        (
            "a table of some other files",
            |r| {
                flat(r);
                write(r, "d/labels.csv", b"file,label\n0.png,a\n1.png,b\ny.png,b")
            },
            LOOK,
            Says(&["1 rows of", "`y.png`"]),
        ),
        (
            "a file with two labels",
            |r| {
                flat(r);
                write(r, "d/labels.csv", b"file,label\n0.png,a\n0.png,b")
            },
            LOOK,
            Fails(&["0.png is `b` here, `a` before"]),
        ),
        (
            "a table with parts",
            |r| {
                flat(r);
                write(r, "d/labels.csv", b"file,label,split\n0.png,a,train\n1.png,b,train\n2.png,a,test")
            },
            LOOK,
            Says(&["1 pictures of the data's own test"]),
        ),
        (
            "a table of many columns",
            |r| {
                flat(r);
                write(r, "d/labels.csv", b"a,b,c\n1,2,3")
            },
            LOOK,
            Fails(&["which are file and label"]),
        ),
        (
            "several tables",
            |r| {
                flat(r);
                write(r, "d/a.csv", b"0.png,a");
                write(r, "d/b.csv", b"0.png,a")
            },
            LOOK,
            Fails(&["2 CSV files", "--csv"]),
        ),
        (
            "an empty table",
            |r| {
                flat(r);
                write(r, "d/a.csv", b"")
            },
            LOOK,
            Fails(&["a.csv", "empty"]),
        ),
    ];
    let words: Vec<Case> = vec![
        (
            "names with blanks",
            classes,
            "look --data @/d --labels _Ameise,_Biene,Katze_",
            Says(&["1 Biene (`bee` in the data)"]),
        ),
        ("a name twice", classes, "look --data @/d --labels ant,ant,cat", Fails(&["--labels: ant is there twice"])),
        ("an empty name", classes, "look --data @/d --labels ant,,cat", Fails(&["--labels: name 2 is empty"])),
        (
            "too few names",
            classes,
            "look --data @/d --labels ant,bee",
            Fails(&["3 classes (ant, bee, cat)", "2 names"]),
        ),
        ("names of no classes", flat, "look --data @/d --labels ant", Fails(&["no classes", "--labels"])),
        ("a share held back", classes, "look --data @/d --test 25%", Says(&["3 pictures, --test 25% of every class"])),
        ("nothing held back", classes, "look --data @/d --test 0%", Says(&["nothing can be evaluated"])),
        ("a share without a sign", classes, "look --data @/d --test 10", Fails(&["10%"])),
        ("a share too large", classes, "look --data @/d --test 90%", Fails(&["50%"])),
        ("no size", classes, "look --data @/d --size 0", Fails(&["4 to 512"])),
        ("a size of two words", classes, "look --data @/d --size big", Fails(&["HEIGHTxWIDTH"])),
        ("a range of nothing", classes, "look --data @/d --range 1..1", Fails(&["0..1"])),
        ("a colour that is none", classes, "look --data @/d --background mauve", Fails(&["RRGGBB"])),
        ("a sheet that is no PNG", classes, "look --data @/d -o @/sheet.tiff", Fails(&["sheet.tiff", ".png"])),
        ("a sheet in no folder", classes, "look --data @/d -o @/no/sheet.png", Fails(&["no/sheet.png", "folder"])),
        ("a command that is none", |_| (), "trian", Fails(&["trian", "train"])),
        (
            "a ranks' command that is none",
            |_| (),
            "launch --ranks 2 -- train --data @/d --run @/r --ema 2",
            Fails(&["--ema"]),
        ),
        ("the help", |_| (), "--help", Says(&["train", "export", "look"])),
        ("a command's help", |_| (), "train --help", Says(&["--learning-rate", "--size"])),
    ];
    [folders, files, arrays, idx_files, tables, words].into_iter().flatten().collect()
}

/// Numbers that no training can use, each an error before anything is read: a command, its flag and the value.
const NUMBERS: &[(&str, &str, &[&str])] = &[
    (TRAIN, "--learning-rate", &["-1", "0", "nan", "inf", "1e9", "fast"]),
    (TRAIN, "--label-dropout", &["1.5", "-0.1", "nan"]),
    (TRAIN, "--ema", &["2", "1", "-1", "nan"]),
    (TRAIN, "--clip", &["0", "-1", "nan"]),
    (TRAIN, "--steps", &["0", "-5", "1e3", "99999999999999999999"]),
    (TRAIN, "--batch", &["0", "-1", "100000000"]),
    (TRAIN, "--warmup", &["-1"]),
    (TRAIN, "--timesteps", &["0", "1000000"]),
    (TRAIN, "--embedding", &["0", "7", "1"]),
    (TRAIN, "--channels", &["0,4", "4,x", "1000000000,4"]),
    (TRAIN, "--blocks", &["1,2,1000"]),
    (TRAIN, "--limit", &["0", "-1", "nan"]),
    (TRAIN, "--checkpoint-every", &["0"]),
    (TRAIN, "--sample-every", &["0"]),
    (TRAIN, "--seed", &["-1", "x"]),
    (TRAIN, "--shift", &["-1", "1000"]),
    (TRAIN, "--schedule", &["quadratic"]),
    ("finetune --model m --data d --run r", "--guidance", &["nan", "-1", "1000"]),
    ("finetune --model m --data d --run r", "--label-dropout", &["7"]),
    ("distill --teacher m --run r", "--evaluations", &["0", "70000"]),
    ("distill --teacher m --run r", "--pictures", &["0"]),
    ("refine --model m --data d --run r", "--diffusion", &["0", "nan"]),
    ("refine --model m --data d --run r", "--anchor", &["-1", "nan"]),
    ("refine --model m --data d --run r", "--classifiers", &["0", "1000"]),
    ("consistency --model m --data d --run r", "--stages", &["0", "21"]),
    ("export --run r -o m", "--trajectories", &["0"]),
    ("export --run r -o m", "--outliers", &["1", "-0.1", "nan"]),
    ("export --run r -o m", "--guidance", &["nan", "inf"]),
    ("sample", "--count", &["0"]),
    ("sample", "--guidance", &["nan"]),
    ("steps --model m", "--steps", &["0"]),
    ("steps --model m", "--rule", &["euler"]),
    ("sensitivity --model m --data d", "--strata", &["0"]),
    ("sensitivity --model m --data d", "--pictures", &["1"]),
    ("eval --data d", "--count", &["0", "9"]),
    ("eval --data d", "--noise", &["-1", "nan"]),
    ("eval --data d", "--threads", &["0"]),
    ("eval --data d", "--resamples", &["1"]),
    ("eval --data d", "--elbo-strata", &["0"]),
    ("eval --data d", "--pictures", &["x", "=a.npy"]),
    ("judge --data d --images i --labels l", "--epochs", &["0"]),
];

/// Runs a command in `root`; gives whether it succeeded and what it said.
fn run(root: &Path, command: &str) -> (bool, String) {
    let blanks = command.split(' ').map(|word| word.replace('_', " "));
    let words = blanks.map(|word| word.replace('@', root.to_str().unwrap()));
    let output = Command::new(env!("CARGO_BIN_EXE_grano-train-front")).args(words).current_dir(root).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0..=2)), "{command}: {:?} {text}", output.status);
    assert!(!text.contains("panicked"), "{command}: {text}");
    (output.status.success(), text)
}

#[test]
fn every_input_has_its_outcome() {
    let cases = cases();
    assert!(cases.len() >= 80, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, make, command, outcome) in cases {
        let root = tempfile::Builder::new().prefix("odd").tempdir().unwrap();
        make(root.path());
        let (success, text) = run(root.path(), command);
        let (expected, words) = match outcome {
            Says(words) => (true, words),
            Fails(words) => (false, words),
        };
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        let written = root.path().join("look.png").exists() || root.path().join("run").exists();
        if success != expected || !missing.is_empty() || !success && (written || text.lines().count() > 12) {
            wrong.push(format!("{name}: success {success}, missing {missing:?}, written {written}:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    for (command, flag, values) in NUMBERS {
        for value in *values {
            let (success, text) = run(root.path(), &format!("{command} {flag}={value}"));
            assert!(!success && text.contains(flag), "{command} {flag}={value}: {text}");
        }
        let own = run(root.path(), command);
        assert!(own.0, "{command} alone is right: {}", own.1);
    }
}

#[test]
fn what_is_held_back_is_the_same_under_every_name() {
    let root = tempfile::tempdir().unwrap();
    let (args, before) = (|| grano_trainer_front::data::DataArgs::of(root.path().join("d")), root.path().join("d"));
    all(root.path(), "d/ant", 40);
    all(root.path(), "d/bee", 40);
    let first = grano_trainer_front::data::load(&args(), None).unwrap();
    assert_eq!((first.train.labels.len(), first.test.labels.len()), (72, 8));
    std::fs::rename(before.join("ant/3.png"), before.join("ant/a.png")).unwrap();
    let again = grano_trainer_front::data::load(&args(), None).unwrap();
    assert_eq!(first.test.pixels, again.test.pixels);
    let size = first.shape.iter().product::<usize>();
    let train: Vec<&[u8]> = first.train.pixels.chunks(size).collect();
    let both = |picture: &&[u8]| train.contains(picture);
    assert!(first.test.pixels.chunks(size).filter(both).count() == 0, "a picture is learnt from and measured on");
}
