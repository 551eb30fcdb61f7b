// ditq.h, "PNG (libpng)".

import CDitq
import DitqCore

@c @implementation
public func ditq_png_write(
  _ path: UnsafePointer<CChar>!, _ pixels: UnsafePointer<UInt8>!, _ width: Int32, _ height: Int32, _ channels: Int32,
  _ texts: UnsafePointer<ditq_png_text>!, _ text_count: Int, _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let path = try filePath(path)
    try writePNG(try image(pixels, width, height, channels, texts, text_count), to: path)
  }
}

@c @implementation
public func ditq_png_encode(
  _ pixels: UnsafePointer<UInt8>!, _ width: Int32, _ height: Int32, _ channels: Int32, _ texts: UnsafePointer<ditq_png_text>!,
  _ text_count: Int, _ buffer: UnsafeMutableRawPointer!, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>!,
  _ error: UnsafeMutablePointer<ditq_error>!
) -> ditq_status {
  answer(error) { () throws(DitqError) in
    let needed = try required(needed, "needed"), capacity = try count(capacity, "capacity")
    if capacity > 0 { _ = try required(buffer, "buffer") }
    needed.pointee = try encodePNG(try image(pixels, width, height, channels, texts, text_count), into: buffer, capacity: capacity)
  }
}

private func image(
  _ pixels: UnsafePointer<UInt8>?, _ width: Int32, _ height: Int32, _ channels: Int32, _ texts: UnsafePointer<ditq_png_text>?,
  _ textCount: Int
) throws(DitqError) -> PNGImage {
  guard (0...65536).contains(textCount) else {
    throw DitqError(.invalidArgument, "text_count: 0 to 65536 expected, \(UInt(bitPattern: textCount)) found")
  }
  var list: [PNGText] = []
  if textCount > 0 {
    let texts = try required(texts, "texts")
    list = try pngTexts(count: textCount) { PNGText(key: texts[$0].key, text: texts[$0].text) }
  }
  return PNGImage(
    pixels: try required(pixels, "pixels"), width: Int(width), height: Int(height), channels: Int(channels), texts: list)
}
