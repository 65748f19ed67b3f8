"""Codes of what is given: settings and options, data, files, and arguments of the library."""

from __future__ import annotations

from snowmelt.errors.advice import Advice

SETTINGS_AND_DATA: dict[str, Advice] = {
    # Settings and options
    "experiment-unknown": Advice(
        "No named experiment and no settings file is called so",
        "Take a name that `snowmelt configs` lists, or give FILE.yaml or FILE.py:ATTRIBUTE",
    ),
    "settings-file": Advice(
        "A settings file is missing, cannot be read, or holds no settings",
        "Give a YAML file with `name: value` lines, or a Python file and the name of an `ExperimentConfig` in it",
    ),
    "settings-unknown": Advice("There is no setting of this name", "Take the name from the list in docs/settings.md"),
    "settings-value": Advice(
        "A setting, or the argument that stands for it, has a value that is not possible",
        "Give a value of the type and the range that the message names",
    ),
    "settings-conflict": Advice(
        "Settings that exclude each other are both given, or one lacks its partner",
        "Keep one of them, or give both, as the message says",
    ),
    "settings-unused": Advice(
        "A setting is given that has no effect beside the others", "Leave it out, or switch on what it is for"
    ),
    "settings-ten-strings": Advice(
        "An entry of the published list `feature_match_layers` is wrong",
        "Mend the string at the position that the message names",
    ),
    "schedule-milestones": Advice(
        "The milestones of a piecewise schedule are missing, misplaced or negative",
        "Give milestones with kind `piecewise`, and only with it; epochs count from 0",
    ),
    "class-weights": Advice("There are more or fewer class weights than classes", "Give one weight for each class"),
    "loss-unknown": Advice("No loss has this name", "Take one of the names in the message"),
    "loss-weights-zero": Advice(
        "The weights of all losses are 0, so there is nothing to learn",
        "Give one of them a weight, or switch the part off",
    ),
    "loss-channels": Advice(
        "A loss needs more classes than the data has",
        "Use the loss that the message proposes, or give this one no weight",
    ),
    "option-value": Advice(
        "The value of an option cannot be read, or is out of its range", "Write it as the example in the message"
    ),
    "option-conflict": Advice("Two options exclude each other", "Leave one of them out"),
    "option-unused": Advice(
        "An option is given that has no effect beside what else was asked for",
        "Leave it out, or ask for what it is about",
    ),
    # Data
    "data-spec": Advice(
        "The place of the data is not written as a SPEC", "Write a folder, `coco:IMAGES:JSON` or `scenes:200`"
    ),
    "data-folder-missing": Advice(
        "A folder of images, masks or pictures without masks is not there",
        "Mend the path, or the settings `data.image_folder` and `data.mask_folder`",
    ),
    "data-layout-unknown": Advice(
        "A folder is laid out in no way that is known",
        "Rename its folders as docs/data.md shows, or set `data.image_folder` and `data.mask_folder`",
    ),
    "data-layout-ambiguous": Advice(
        "A folder can be read in more than one way", "Keep one layout, or name the folder or file that is meant"
    ),
    "data-no-images": Advice(
        "There are no images where some are needed", "Put images there, or point at another folder"
    ),
    "data-part-missing": Advice(
        "The data lack a training, validation or test part", "Point at a folder that has it, or ask for another part"
    ),
    "data-too-few": Advice(
        "There are too few images to set some apart", "Give more images, or a second SPEC for validation"
    ),
    "data-same-stem": Advice(
        "Two files differ in nothing but the suffix, so image and mask cannot be matched",
        "Rename or remove one of them",
    ),
    "data-classes-invalid": Advice(
        "A list of classes is too short, too long, or has an empty or repeated name",
        "Mend `data.classes` or `classes.txt`",
    ),
    "data-classes-differ": Advice(
        "Two parts of the data do not have the same classes", "Give both the same names in the same order"
    ),
    "data-refused": Advice(
        "Data were looked over for new settings and cannot be trained on",
        "Run `snowmelt check-data` and mend what it names",
    ),
    "loading-process-died": Advice(
        "A process that loads images was killed or crashed",
        "Look at the image that the message names, or take fewer processes with `data.workers`",
    ),
    "loading-failed": Advice(
        "Reading an image ended in an error that is none of the known ones",
        "Take that image out of the data, or look with `--debug` where it happened",
    ),
    "unlabelled-overlap": Advice(
        "Pictures without masks share names or files with images that have masks", "Rename or remove one of each pair"
    ),
    "image-unreadable": Advice("A picture is empty, damaged or no picture", "Replace or remove the file"),
    "image-format": Advice(
        "A picture is of a kind that is not read, such as floating point", "Save it with 8 or 16 bits a channel"
    ),
    "image-too-large": Advice("A picture has more pixels than are read", "Make it smaller"),
    "video-unreadable": Advice("A video is damaged, or OpenCV cannot decode it", "Encode it anew"),
    "input-unknown": Advice(
        "A file is neither a picture nor a video by its name", "Give files with one of the suffixes in the message"
    ),
    "mask-missing": Advice("Images have no mask of the same stem", "Add the masks, or remove the images"),
    "mask-size": Advice(
        "A mask and its picture differ in size", "Save the mask at the size of the picture as it is shown"
    ),
    "mask-format": Advice(
        "A mask is a JPEG, in colours, or of another kind that holds no class ids",
        "Save class ids as a grey or palette PNG",
    ),
    "mask-label": Advice(
        "A mask has a label that is none of the classes",
        "Mend the mask, name the class, or correct the number of classes or the ignored label",
    ),
    "mask-unnamed": Advice(
        "The labels of the masks are not 0, 1, 2, ... and no list names them",
        "Name the classes in `classes.txt`, or save ids instead of grey levels",
    ),
    "mask-empty": Advice(
        "The masks hold nothing that counts", "Give masks with more than background or ignored pixels"
    ),
    "annotation-file": Advice(
        "An annotation file is no valid COCO file", "Export it anew, as JSON with images, annotations and categories"
    ),
    "annotation-entry": Advice(
        "An entry of a COCO file lacks a value, or has one that cannot be",
        "Mend the entry that the message names, or export the file anew",
    ),
    "annotation-path": Advice(
        "A COCO file names a picture that is not there, lies elsewhere or is there twice",
        "Add the picture, or mend its `file_name`",
    ),
    "annotation-category": Advice("A COCO file has no category of this name", "Take one of the names in the message"),
    "annotation-region": Advice(
        "A region of a COCO file cannot be made a mask", "Mend the polygon or run lengths, or export the file anew"
    ),
    "annotation-size": Advice(
        "A COCO file states another size than the picture has", "Annotate the picture as it is shown"
    ),
    # Files
    "file-missing": Advice("A file or folder that is named is not there", "Mend the path"),
    "file-unreadable": Advice("A file is there, but cannot be read", "Give permission to read it, or replace it"),
    "file-unwritable": Advice(
        "A file or folder cannot be made or written", "Choose a place that you may write and that has space"
    ),
    "disk-full": Advice(
        "What is to be stored is larger than what is free", "Choose a larger disk, or store less, as the message says"
    ),
    "output-exists": Advice(
        "Results are there already", "Give `--resume`, `--overwrite` or `--force`, or another `--output`"
    ),
    "output-taken": Advice(
        "The place for results is something else: a folder, an input, somebody's files",
        "Choose another place with `--output`",
    ),
    "extra-missing": Advice("A package that only some uses need is not installed", "Install what the message names"),
    # Arguments of the library
    "argument-value": Advice(
        "An argument of a function is out of its range", "Give a value in the range that the message names"
    ),
    "array-shape": Advice(
        "A tensor or an array has another shape or type than is expected",
        "Bring it to the shape and type that the message names",
    ),
    "call-incomplete": Advice(
        "A call lacks something that it needs, or comes too early",
        "Give what the message names, or do first what it names",
    ),
}
