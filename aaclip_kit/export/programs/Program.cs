// Scores pictures with the exported model beside this file. A console project (net8.0) with two packages:
//   dotnet add package Microsoft.ML.OnnxRuntime
//   dotnet add package SixLabors.ImageSharp
// Then: dotnet run -- card.json part.png ...
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SixLabors.ImageSharp;
using SixLabors.ImageSharp.PixelFormats;
using SixLabors.ImageSharp.Processing;

string cardPath = Path.GetFullPath(args[0]);
JsonElement card = JsonDocument.Parse(File.ReadAllText(cardPath)).RootElement;
string model = Path.Combine(Path.GetDirectoryName(cardPath)!, card.GetProperty("file").GetString()!);
float threshold = card.GetProperty("threshold").GetProperty("value").GetSingle();
using var session = new InferenceSession(model);

foreach (string path in args.Skip(1))
{
    using Image<Rgb24> picture = Image.Load<Rgb24>(path);
    picture.Mutate(change => change.AutoOrient());
    byte[] pixels = new byte[picture.Width * picture.Height * 3];
    picture.CopyPixelDataTo(pixels);
    var inputs = new[]
    {
        NamedOnnxValue.CreateFromTensor("picture",
            new DenseTensor<byte>(pixels, new[] { 1, picture.Height, picture.Width, 3 })),
        NamedOnnxValue.CreateFromTensor("threshold", new DenseTensor<float>(new[] { threshold }, ReadOnlySpan<int>.Empty)),
    };
    using var found = session.Run(inputs);
    float score = found.First(one => one.Name == "score").AsEnumerable<float>().First();
    bool anomalous = found.First(one => one.Name == "decision").AsEnumerable<bool>().First();
    Console.WriteLine($"{path}\t{score:F6}\t{(anomalous ? "anomalous" : "normal")}");
}
