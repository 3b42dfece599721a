"""The TensorFlow operators that an image encoder may be made of."""

from __future__ import annotations

# Values in, values out: no file, network, process, Python or custom code. What is missing here is refused.
_COMPUTE = """
Abs Acos Acosh Add AddN AddV2 AdjustContrastv2 AdjustHue AdjustSaturation All Angle Any ArgMax ArgMin
Asin Asinh AsString Assert Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3
BatchNormWithGlobalNormalization BatchToSpace BatchToSpaceND BiasAdd BiasAddV1 Bitcast BitwiseAnd BitwiseOr
BitwiseXor BroadcastArgs BroadcastGradientArgs BroadcastTo Bucketize Cast Ceil CheckNumerics CheckNumericsV2
ClipByValue CombinedNonMaxSuppression Complex ComplexAbs Concat ConcatOffset ConcatV2 Conj
ConjugateTranspose Const ControlTrigger Conv Conv2D Conv2DBackpropInput Conv3D Cos Cosh CropAndResize Cross
Cumprod Cumsum CumulativeLogsumexp DataFormatDimMap DataFormatVecPermute DecodeAndCropJpeg DecodeBase64
DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeRaw DeepCopy DepthToSpace DepthwiseConv2dNative
Dequantize Diag DiagPart Dilation2D Div DivNoNan DynamicPartition DynamicStitch Einsum Elu Empty EnsureShape
Equal Erf Erfc Erfinv EuclideanNorm Exp ExpandDims Expm1 ExtractImagePatches ExtractJpegShape FFT FFT2D
FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Floor FloorDiv
FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D Gather
GatherNd GatherV2 Greater GreaterEqual HistogramFixedWidth IFFT IFFT2D IRFFT IRFFT2D Identity IdentityN Imag
ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK InTopKV2 Inv InvertPermutation IsFinite IsInf
IsNan L2Loss LRN LeakyRelu Less LessEqual LinSpace ListDiff Log Log1p LogSoftmax LogicalAnd LogicalNot
LogicalOr LowerBound MatMul MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
MatrixDiagV2 MatrixDiagV3 MatrixInverse MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 Max MaxPool MaxPool3D
MaxPoolV2 MaxPoolWithArgmax Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Multinomial Neg NextAfter
NoOp NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5
NotEqual OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch ParameterizedTruncatedNormal
Placeholder PlaceholderV2 PlaceholderWithDefault Polygamma Pow PreventGradient Prod Qr QuantizeAndDequantize
QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 RFFT RFFT2D RGBToHSV
HSVToRGB RandomGamma RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt Range Rank Real
RealDiv Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse
ReverseSequence ReverseV2 RightShift LeftShift Rint Roll Round Rsqrt SampleDistortedBoundingBox
SampleDistortedBoundingBoxV2 ScaleAndTranslate ScatterNd SegmentMax SegmentMean SegmentMin SegmentProd
SegmentSum Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax
SoftmaxCrossEntropyWithLogits Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth SparseMatMul
SparseSoftmaxCrossEntropyWithLogits SparseTensorDenseMatMul SparseToDense Split SplitV Sqrt Square
SquaredDifference Squeeze StatelessMultinomial StatelessParameterizedTruncatedNormal StatelessRandomBinomial
StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
StatelessSampleDistortedBoundingBox StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2
StopGradient StridedSlice StringFormat StringJoin StringLength Sub Substr Sum Svd Tan Tanh
StaticRegexFullMatch StaticRegexReplace
TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate
TensorStridedSliceUpdate Tile TopK TopKV2 Transpose TruncateDiv TruncateMod TruncatedNormal Unique
UniqueV2 Unpack UnravelIndex UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum
UpperBound Where Xdivy Xlog1py Xlogy ZerosLike Zeta
"""

_VARIABLES = """
Assign AssignAddVariableOp AssignSubVariableOp AssignVariableOp AssignAdd AssignSub DisableCopyOnRead
IsVariableInitialized ReadVariableOp ResourceGather ResourceGatherNd RngReadAndSkip RngSkip
StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt StatefulUniformInt
VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2 _VarHandlesOp _ReadVariablesOp
"""

_CONTROL = """
Case Enter Exit If LoopCond Merge NextIteration PartitionedCall RefEnter RefExit RefIdentity RefMerge
RefNextIteration RefSwitch StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch While
EmptyTensorList TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListReserve TensorListResize
TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3
TensorArraySplitV3 TensorArrayV3 TensorArrayWriteV3 TensorArrayCloseV3
"""

ALLOWED = frozenset((_COMPUTE + _VARIABLES + _CONTROL).split())
"""What may be anywhere in a model."""

RESTORING = frozenset({"RestoreV2", "RestoreSlice", "Restore"})
"""What reads the model's own variables: may be reached when it is restored, never when it is used."""

SAVING = frozenset({"SaveV2", "SaveSlices", "Save", "MergeV2Checkpoints", "ShardedFilename", "ShardedFilespec"})
"""What every SavedModel carries for saving itself again: may lie there, but nothing that runs reaches it."""
