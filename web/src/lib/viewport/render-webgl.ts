/**
 * The WebGL2 engine: one triangle over the canvas; the fragment shader goes from the screen pixel to the picture
 * pixel, samples (stored 8/16-bit numbers as two bytes, or colour), and applies the window.
 */
import type { DrawOrder, Engine } from './render';
import { invert } from './transform';

const VERTEX = `#version 300 es
void main() { gl_Position = vec4(gl_VertexID == 1 ? 3. : -1., gl_VertexID == 2 ? 3. : -1., 0., 1.); }`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D tex;
uniform vec3 rowX, rowY;   // device pixel -> picture pixel
uniform vec2 size, canvas;
uniform vec4 voi;          // gain, bias, invert, taps per axis
uniform vec3 stored;       // 0 colour | 1 grey; span of the stored bits; signed
out vec4 color;
float texel(ivec2 at) {
  vec2 b = texelFetch(tex, clamp(at, ivec2(0), ivec2(size) - 1), 0).rg;
  float v = mod(floor(b.r * 255. + .5) + 256. * floor(b.g * 255. + .5), stored.y);
  return stored.z > .5 && v >= stored.y * .5 ? v - stored.y : v;
}
vec3 at(vec2 p) {
  if (stored.x < .5) return texture(tex, p / size).rgb;
  vec2 q = p - .5; ivec2 i = ivec2(floor(q)); vec2 f = fract(q);
  return vec3(mix(mix(texel(i), texel(i + ivec2(1, 0)), f.x), mix(texel(i + ivec2(0, 1)), texel(i + 1), f.x), f.y));
}
void main() {
  vec2 c = vec2(gl_FragCoord.x, canvas.y - gl_FragCoord.y);
  vec3 h = vec3(c, 1.);
  vec2 p = vec2(dot(rowX, h), dot(rowY, h));
  if (p.x < 0. || p.y < 0. || p.x > size.x || p.y > size.y) { color = vec4(0., 0., 0., 1.); return; }
  int n = int(voi.w);
  vec3 sum = vec3(0.);
  for (int y = 0; y < n; y++) for (int x = 0; x < n; x++) {
    vec2 o = (vec2(float(x), float(y)) + .5) / voi.w - .5;
    sum += at(p + vec2(rowX.x * o.x + rowX.y * o.y, rowY.x * o.x + rowY.y * o.y));
  }
  vec3 g = clamp(sum / (voi.w * voi.w) * voi.x + voi.y, 0., 1.);
  color = vec4(voi.z > .5 ? 1. - g : g, 1.);
}`;

const UNIFORMS = ['rowX', 'rowY', 'size', 'canvas', 'voi', 'stored'] as const;

interface Program {
  at: Record<(typeof UNIFORMS)[number], WebGLUniformLocation | null>;
  texture: WebGLTexture;
}

/** Make the engine, or null when the browser gives no WebGL2 (then the canvas is still free for 2d). */
export function webglEngine(canvas: HTMLCanvasElement, redraw: () => void): Engine | null {
  const gl = canvas.getContext('webgl2', { alpha: false, antialias: false, preserveDrawingBuffer: true });
  if (!gl) return null;
  let program = build(gl);
  let held = '';
  const lost = (event: Event): void => {
    event.preventDefault();
    program = null;
  };
  const restored = (): void => {
    program = build(gl);
    held = '';
    redraw();
  };
  canvas.addEventListener('webglcontextlost', lost);
  canvas.addEventListener('webglcontextrestored', restored);
  return {
    name: 'webgl2',
    draw(order) {
      if (!program) return;
      gl.viewport(0, 0, canvas.width, canvas.height);
      if (!order) {
        gl.clearColor(0, 0, 0, 1);
        gl.clear(gl.COLOR_BUFFER_BIT);
        return;
      }
      const small = Math.hypot(order.affine[0], order.affine[1]) < 0.6;
      const identity = `${order.picture.key}${small}`;
      if (held !== identity) upload(gl, order, small);
      held = identity;
      setUniforms(gl, program, order, canvas);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    },
    dispose() {
      canvas.removeEventListener('webglcontextlost', lost);
      canvas.removeEventListener('webglcontextrestored', restored);
      if (program) gl.deleteTexture(program.texture);
      gl.getExtension('WEBGL_lose_context')?.loseContext();
    },
  };
}

function build(gl: WebGL2RenderingContext): Program | null {
  const program = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ] as const) {
    const shader = gl.createShader(type);
    if (!shader) return null; // the context is lost; it will be restored
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
    if (gl.isContextLost()) return null;
    throw new Error(`shader did not link: ${gl.getProgramInfoLog(program) ?? ''}`);
  }
  gl.useProgram(program);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  const at = Object.fromEntries(UNIFORMS.map((name) => [name, gl.getUniformLocation(program, name)]));
  return { at: at as Program['at'], texture: gl.getParameter(gl.TEXTURE_BINDING_2D) as WebGLTexture };
}

function upload(gl: WebGL2RenderingContext, { picture, bytesPerPixel }: DrawOrder, small: boolean): void {
  const set = (name: number, value: number): void => gl.texParameteri(gl.TEXTURE_2D, name, value);
  set(gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  set(gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  if (picture.kind === 'bitmap') {
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture.bitmap);
    if (small) gl.generateMipmap(gl.TEXTURE_2D);
    set(gl.TEXTURE_MIN_FILTER, small ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR);
    set(gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    return;
  }
  const [internal, format] = bytesPerPixel === 2 ? [gl.RG8, gl.RG] : [gl.R8, gl.RED];
  const { width, height, bytes } = picture;
  gl.texImage2D(gl.TEXTURE_2D, 0, internal, width, height, 0, format, gl.UNSIGNED_BYTE, bytes);
  set(gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  set(gl.TEXTURE_MAG_FILTER, gl.NEAREST);
}

function setUniforms(gl: WebGL2RenderingContext, program: Program, order: DrawOrder, canvas: HTMLCanvasElement): void {
  const [a, b, c, d, e, f] = invert(order.affine);
  const { at } = program;
  const { picture } = order;
  const grey = picture.kind === 'grey';
  const step = Math.hypot(a, b);
  const taps = grey ? Math.min(4, Math.max(1, Math.ceil(step))) : 1;
  gl.uniform3f(at.rowX, a, c, e);
  gl.uniform3f(at.rowY, b, d, f);
  gl.uniform2f(at.size, picture.width, picture.height);
  gl.uniform2f(at.canvas, canvas.width, canvas.height);
  gl.uniform4f(at.voi, order.gain, order.bias, order.invert ? 1 : 0, taps);
  gl.uniform3f(at.stored, grey ? 1 : 0, 2 ** order.bitsStored, order.signed ? 1 : 0);
}
