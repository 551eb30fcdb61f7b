/* Looking up class names: names with line feeds between them, a zero byte, and what is looked for. Any text may be either. */
#include "fuzz.h"

static char header[1 << 18];

static void fuzz(const uint8_t *data, size_t size) {
  if (size > 4096) return;
  input from = {data, size};
  char *names = next_text(&from, 0), *wanted = next_text(&from, 0);
  size_t base_size;
  unsigned char *base = contents(MODELS "/float.safetensors", &base_size);
  size_t length = (size_t)sprintf(header, "{\"__metadata__\":{\"ditq.config\":\"{\\\"class_names\\\":[\\\"");
  int count = 1;
  for (const char *c = names; *c; c++) {
    if (*c == '\n' && count == 3) break;
    if (*c == '\n') count++, length += (size_t)sprintf(header + length, "\\\",\\\"");
    else if ((unsigned char)*c < 32 || *c == '"' || *c == '\\') length += (size_t)sprintf(header + length, "\\\\u%04x", *c);
    else header[length++] = *c;
  }
  length += (size_t)sprintf(header + length, "\\\"]}\"},");
  size_t text = 0;
  memcpy(&text, base, 8);
  text += length - 1;
  size_t whole = base_size + length - 1;
  uint8_t *bytes = malloc(whole);
  memcpy(bytes, &text, 8), memcpy(bytes + 8, header, length), memcpy(bytes + 8 + length, base + 9, base_size - 9);
  start();
  ditq_model *model = NULL;
  ditq_model_options options = {.struct_size = sizeof options, .head_count = 2};
  if (ok(ditq_model_open_memory(bytes, whole, &options, &model, &error))) {
    int32_t label = -1;
    if (ok(ditq_model_find_class(model, wanted, &label, &error))) expect(label >= 0 && label < 3 && ditq_model_class_name(model, label), "a label that is found has a name");
    else expect(label == -1, "a label that is not found is not written");
    for (int32_t each = -1; each <= 4; each++) {
      const char *name = ditq_model_class_name(model, each);
      label = -1;
      if (name && *name) ok(ditq_model_find_class(model, name, &label, &error));
    }
    ditq_model_close(model);
  }
  free(bytes), free(base), free(names), free(wanted);
}
