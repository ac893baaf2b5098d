"""What a backbone promises."""

from typing import Final

from .form import Promises

BACKBONE: Final[Promises] = {
    "B2-says-its-sizes": (
        "The factory makes a Backbone that states its towers, embedding_width, image_size, grid, prefix_tokens, "
        "context_length, the image statistics (three finite numbers each, deviations above 0) and surgery_start within "
        "the vision tower. Without a text tower text is None, and has_text of its BackboneOptions is False.",
        "set every attribute of Backbone in __init__, from the model's own configuration",
    ),
    "B3-walk-gives-those-sizes": (
        "Walked block by block, each tower gives the shapes that the sizes say: prefix_tokens vision tokens, the class "
        "token first, then grid * grid patches; rule_features has a row for each patch.",
        "compare each method's shapes with the legend in aaclip_kit/contracts/backbone.py",
    ),
    "B4-tokenizer-pads-with-zeros": (
        "tokenize gives integers [P, T], different for different prompts, zero after the end-of-text token, whose "
        "position end_of_text gives; a prompt longer than the context length raises UserError.",
        "pad with 0, count positions from 0, and raise UserError(problem, fix=...) in place of cutting a prompt",
    ),
    "B5-text-is-causal": (
        "A text token depends on none after it, so that prompts may be cut after the last end-of-text token; prompts "
        "do not see one another.",
        "mask the text blocks' attention causally, and let embed_text take fewer tokens than the context length",
    ),
    "B6-images-are-independent": (
        "With surgery 'none' and 'tokens', an image's features do not depend on the other images of the batch.",
        "attend within an image: the first dimension is the batch",
    ),
    "B7-surgery-acts": (
        "Every surgery mode ('none', 'tokens', 'batch') gives finite tokens of the same shape, and each its own.",
        "put V-V attention in place of the block's own where `surgery` asks for it, over an image's tokens or over the "
        "batch",
    ),
    "B8-frozen-features-repeat": (
        "In evaluation mode features are finite and depend on no random number.",
        "leave dropout to nn.Dropout, which evaluation switches off",
    ),
    "B9-weights-are-all": (
        "What its features depend on is in the state dict (or made by the options alone).",
        "register weights as parameters or buffers, and modules in ModuleList or ModuleDict",
    ),
    "B10-gradients-pass-through": (
        "With its parameters frozen, gradients still pass through each tower to the tokens that it is given.",
        "use no no_grad and no detach in the walk",
    ),
    "B11-serves-a-run": (
        "With a text tower, a run with stages in both towers trains on it, and its own weights stay as they are.",
        "see the error; `aakit --debug run` on an experiment with this backbone shows the whole traceback",
    ),
}
