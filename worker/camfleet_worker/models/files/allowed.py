"""What a model file may name: the classes and functions of Keras that an answer can need.

Every name stands for itself: nothing is found by a path, and what isn't listed doesn't exist.
Left out are layers that read files or run code, and whatever takes a function as its argument.
"""

from camfleet_worker.models.files.operations import OPERATIONS


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CONVOLUTIONS = (
    "Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D "
    "ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose "
    "Convolution3D Convolution3DTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D "
    "SeparableConv2D SeparableConvolution1D SeparableConvolution2D"
)
_POOLINGS = (
    "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
    "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D "
    "AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D GlobalAveragePooling1D "
    "GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D "
    "GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D "
    "GlobalMaxPooling3D MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D"
)
_SHAPES = (
    "Add Average CenterCrop Concatenate Cropping1D Cropping2D Cropping3D Dot Flatten Masking "
    "Maximum Minimum Multiply Permute RepeatVector Reshape Resizing Subtract UpSampling1D "
    "UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D"
)
_UNITS = (
    "Activation AdditiveAttention Attention BatchNormalization Bidirectional Dense ELU EinsumDense "
    "Embedding GRU GRUCell GroupNormalization GroupQueryAttention Identity InputLayer LSTM "
    "LSTMCell LayerNormalization LeakyReLU MultiHeadAttention Normalization PReLU RMSNormalization "
    "RNN ReLU Rescaling ReversibleEmbedding SimpleRNN SimpleRNNCell Softmax SpectralNormalization "
    "StackedRNNCells TimeDistributed UnitNormalization Wrapper"
)
_FEATURES = (
    "CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup MelSpectrogram Pipeline "
    "STFTSpectrogram StringLookup"
)
_TRAINING = (
    "ActivityRegularization AlphaDropout AugMix AutoContrast "
    "ContrastLimitedAdaptiveHistogramEqualization CutMix Dropout Equalization GaussianDropout "
    "GaussianNoise MaxNumBoundingBoxes MixUp RandAugment RandomBrightness RandomColorDegeneration "
    "RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing RandomFlip "
    "RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective "
    "RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear "
    "RandomTranslation RandomZoom Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D"
)
LAYERS = _names(f"{_CONVOLUTIONS} {_POOLINGS} {_SHAPES} {_UNITS} {_FEATURES} {_TRAINING}")
INITIALIZERS = _names(
    "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer "
    "LecunNormal LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform "
    "STFT STFTInitializer TruncatedNormal VarianceScaling Zeros constant glorot_normal "
    "glorot_uniform he_normal he_uniform identity lecun_normal lecun_uniform normal one ones "
    "orthogonal random_normal random_uniform stft truncated_normal uniform variance_scaling "
    "zero zeros"
)
REGULARIZERS = _names("L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l1l2 l2 orthogonal_regularizer")
CONSTRAINTS = _names(
    "MaxNorm MinMaxNorm NonNeg UnitNorm max_norm maxnorm min_max_norm min_max non_neg nonneg "
    "unit_norm unitnorm"
)
POLICIES = _names(
    "AWQDTypePolicy DTypePolicy DTypePolicyMap FloatDTypePolicy GPTQDTypePolicy "
    "Int4DTypePolicy QuantizedDTypePolicy QuantizedFloat8DTypePolicy"
)
QUANTIZERS = _names(
    "AWQConfig AbsMaxQuantizer Float8QuantizationConfig GPTQConfig Int4QuantizationConfig "
    "Int8QuantizationConfig QuantizationConfig"
)
ACTIVATIONS = _names(
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu "
    "linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax "
    "softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus tanh tanh_shrink "
    "threshold"
)
ACTIVATION_ALIASES = frozenset(("swish", "hard_swish"))  # strings only, no function has this name
DTYPES = _names(
    "bool int4 uint4 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bfloat16 float8_e4m3fn "
    "float8_e5m2 float16 float32 float64"
)
MODELS = frozenset(("Functional", "Model", "Sequential"))
FUNCTIONAL = "keras.src.models.functional"

# Every module that a file may name, with what is there.
HOMES: dict[str, frozenset[str]] = {
    "keras": frozenset(("Model", "Sequential", "DTypePolicy", "FloatDTypePolicy")),
    "keras.models": frozenset(("Model", "Sequential")),
    FUNCTIONAL: frozenset(("Functional",)),
    "keras.layers": LAYERS,
    "keras._legacy.layers": frozenset(("RandomHeight", "RandomWidth", "ThresholdedReLU")),
    "keras.src.applications.convnext": frozenset(("LayerScale", "StochasticDepth")),
    "keras.src.applications.inception_resnet_v2": frozenset(("CustomScaleLayer",)),
    "keras.src.layers.rnn.conv_lstm": frozenset(("ConvLSTMCell",)),
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": REGULARIZERS,
    "keras.constraints": CONSTRAINTS,
    "keras.dtype_policies": POLICIES,
    "keras.quantizers": QUANTIZERS,
    "keras.random": frozenset(("SeedGenerator",)),
    **OPERATIONS,
}
# Where layers are that a file names without a module, as HDF5 files and Keras 2 do.
UNSAID = {
    **dict.fromkeys(LAYERS, "keras.layers"),
    "Functional": FUNCTIONAL,
    "Model": "keras",
    "Sequential": "keras",
    **{
        kind: home
        for home in (
            "keras._legacy.layers",
            "keras.src.applications.convnext",
            "keras.src.applications.inception_resnet_v2",
        )
        for kind in HOMES[home]
    },
}
# Classes that HDF5 files know by another name than Keras' own modules.
RENAMED = {"GroupedQueryAttention": "GroupQueryAttention"}

# Keras' own layers that aren't listed, and why.
WITHHELD = {
    "TFSMLayer": "runs the functions of a SavedModel that lies elsewhere",
    "TextVectorization": "takes text, which no photograph is",
    "TorchModuleWrapper": "is a pickle inside the file",
    "JaxLayer": "is code",
    "FlaxLayer": "is code",
    "FeatureSpace": "takes rows of a table, which no photograph is",
}
