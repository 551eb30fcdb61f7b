// CheckpointFile: what one file holds, whatever reader made it. Relies on Tensor and JSON; refuses nothing.

struct CheckpointFile {
  let tensors: TensorCollection
  /// What the tensors come from, in words.
  let source: String
  /// The scalar members of a training checkpoint's "args", an object; nil where there are none. What was set last stands first.
  let arguments: JSON?
}
