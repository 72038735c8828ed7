"""The kinds of operations by what they do to the places of the values that they work on."""

# Works value by value, over channels, or does nothing at inference.
STAYS = {
    *("Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization", "Cast"),
    *("Dropout", "ELU", "GaussianDropout", "GaussianNoise", "GroupNormalization", "Identity"),
    *("LayerNormalization", "LeakyReLU", "Masking", "Normalization", "PReLU", "RMSNormalization"),
    *("ReLU", "Rescaling", "Softmax", "SpatialDropout2D", "UnitNormalization", "StopGradient"),
    *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast"),
    *("RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue"),
    *("RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation"),
    *("RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom"),
    *(
        "AugMix",
        "AutoContrast",
        "ContrastLimitedAdaptiveHistogramEqualization",
        "CutMix",
        "Equalization",
        "MixUp",
        "RandAugment",
        "Solarization",
    ),
    *("RandomElasticTransform", "Dense", "LayerScale", "StochasticDepth"),
    *("RgbToGrayscale", "RgbToHsv", "HsvToRgb", "GaussianBlur"),
    "CustomScaleLayer",  # of keras.applications
}
# Operations of keras.ops that work value by value, on one tensor or on several that broadcast.
VALUE_BY_VALUE = {
    *("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Divide", "DivideNoNan"),
    *("TrueDivide", "FloorDivide", "Power", "Mod", "Where", "LogicalAnd", "LogicalOr"),
    *("LogicalNot", "LogicalXor", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less"),
    *("LessEqual", "Absolute", "Abs", "Negative", "Square", "Sqrt", "Rsqrt", "Reciprocal", "Exp"),
    *("Expm1", "Exp2", "Log", "Log1p", "Log2", "Log10", "Sin", "Cos", "Tan", "Sinh", "Cosh"),
    *("Tanh", "Arctan", "Sign", "Round", "Floor", "Ceil", "Clip", "Erf", "Relu", "Relu6", "Elu"),
    *("Selu", "Gelu", "Celu", "Silu", "Sigmoid", "HardSigmoid", "HardSilu", "HardTanh"),
    *("HardShrink", "SoftShrink", "TanhShrink", "Softplus", "Softsign", "Squareplus"),
    *("SparsePlus", "SparseSigmoid", "LogSigmoid", "LogSoftmax", "LeakyRelu", "Threshold"),
    *("Cast", "SaturateCast", "ConvertToTensor", "Copy", "NanToNum", "Isfinite", "BatchNorm"),
    *("Normalize", "RMSNorm", "LayerNorm", "Hypot", "Logaddexp", "Logaddexp2", "Real"),
    "ClipByValue",
}
# Moves values about, and each output value comes from its own place: run on the fields.
MOVES = {
    *("CenterCrop", "Cropping2D", "Flatten", "Permute", "Reshape", "Resizing"),
    *("UpSampling2D", "ZeroPadding2D", "BroadcastTo", "Concatenate", "CropImages", "DepthToSpace"),
    *("ExpandDims", "Flip", "Fliplr", "Flipud", "GetItem", "Hstack", "Moveaxis", "Pad"),
    *("PadImages", "Ravel", "Rearrange", "Repeat", "Resize", "Roll", "Rot90", "Slice"),
    *("SpaceToDepth", "Split", "Squeeze", "Stack", "Swapaxes", "Take", "Tile", "Transpose"),
    *("Unstack", "Vstack", "View"),
}
REDUCES = {"Amax", "Amin", "Max", "Mean", "Min", "Sum", "Std", "Var", "Logsumexp", "Prod"}
MIXES_CHANNELS = {"Dense"}  # of those that stay: only where all channels are of one place
WRAPS = {"SpectralNormalization", "Wrapper"}
